"""`python -m tools.cluster obtain | up | run | down`: a real Kubernetes on this machine, without a container engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from retrograde.runtime.errors import NotFoundError, RetrogradeError
from retrograde.runtime.settings import BAD_INPUT_STATUS
from tools.cluster import obtain

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command(name="obtain")
def obtain_(parts: Annotated[list[str], typer.Argument(help=f"Of {', '.join(obtain.PARTS)}.")]) -> None:
    """Makes the programs of these parts, once; what cannot be had here is told in a line (with CI=true it fails)."""
    for part in parts:
        try:
            obtain.PARTS[part].obtain(typer.echo)
        except NotFoundError as error:
            if os.environ.get("CI") == "true":
                raise
            typer.echo(f"setup: {error} (its tests are skipped)")


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
