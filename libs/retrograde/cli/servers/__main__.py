"""`python -m retrograde.cli.servers obtain | up | down | status`: a real Kafka and a real MinIO on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from retrograde.cli.servers import obtain
from retrograde.cli.servers.keeper import keep as keep_both
from retrograde.cli.servers.keeper import keeper
from retrograde.runtime.errors import NotFoundError, RetrogradeError
from retrograde.runtime.settings import BAD_INPUT_STATUS

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Folder = Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where they keep data, logs and services.json.")]
_FOLDER = Path("build")


@app.command(name="obtain")
def obtain_() -> None:
    """Downloads Kafka and builds MinIO, once; what cannot be had here is told in a line (with CI=true it fails)."""
    for make in (obtain.obtain_kafka, obtain.obtain_minio):
        try:
            make(typer.echo)
        except NotFoundError as error:
            if os.environ.get("CI") == "true":
                raise
            typer.echo(f"setup: {error} (its tests are skipped)")


@app.command()
def up(*, folder: Folder = _FOLDER) -> None:
    """Starts both in the background and prints where they are; both keep their data and ports in DIR."""
    typer.echo(json.dumps(keeper(folder.absolute()).up(), indent=2))


@app.command()
def down(*, folder: Folder = _FOLDER) -> None:
    """Stops what `up` started."""
    typer.echo("stopped" if keeper(folder.absolute()).down() else f"nothing runs in {folder}")


@app.command()
def status(*, folder: Folder = _FOLDER) -> None:
    """Prints where they are; status 1 when they do not run."""
    state = keeper(folder.absolute()).running()
    if state is None:
        raise NotFoundError(f"nothing runs in {folder}: `make services-up` starts it")
    typer.echo(json.dumps(state, indent=2))


@app.command(hidden=True)
def keep(*, folder: Folder = _FOLDER) -> None:
    """Runs both in this process until it is told to stop."""
    keep_both(folder)


def main() -> None:
    """Runs the command; a failure is one line on stderr."""
    try:
        app(standalone_mode=False)
    except RetrogradeError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(BAD_INPUT_STATUS if isinstance(error, NotFoundError) else 1) from None
    except typer.Abort:
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
