"""`python -m tools.cluster obtain | up | run | down`: a real Kubernetes on this machine, without a container engine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from retrograde.runtime.errors import InvalidInputError, NotFoundError, RetrogradeError
from retrograde.runtime.settings import BAD_INPUT_STATUS
from tools.cluster import inside, keeper, obtain

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Folder = Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where it keeps data, logs and cluster.json.")]
Node = Annotated[bool, typer.Option("--node", help="With a real node (needs root), not the control plane alone.")]
Images = Annotated[list[Path], typer.Option("--image", metavar="FILE", help="An image archive its pods may use.")]
_FOLDER = Path("build/cluster")


@app.command(name="obtain")
def obtain_(parts: Annotated[list[str], typer.Argument(help=f"Of {', '.join(obtain.PARTS)}.")]) -> None:
    """Makes the programs of these parts, once; what cannot be had here is told in a line (with CI=true it fails)."""
    if unknown := sorted(set(parts) - set(obtain.PARTS)):
        raise InvalidInputError(f"parts: {', '.join(unknown)}: choose from {', '.join(obtain.PARTS)}")
    for part in parts:
        try:
            obtain.PARTS[part].obtain(typer.echo)
        except NotFoundError as error:
            if os.environ.get("CI") == "true":
                raise
            typer.echo(f"setup: {error} (its tests are skipped)")


@app.command()
def up(*, folder: Folder = _FOLDER, node: Node = False, image: Images = []) -> None:  # noqa: B006 - typer reads it
    """Starts a cluster in the background and prints how it is reached."""
    arguments = ["--node"] * node + [word for path in image for word in ("--image", str(path.absolute()))]
    typer.echo(json.dumps(keeper.keeper(folder.absolute()).up(arguments), indent=2))


@app.command()
def down(*, folder: Folder = _FOLDER) -> None:
    """Ends what `up` started or is starting, pods included."""
    typer.echo("ended" if keeper.keeper(folder.absolute()).down() else f"no cluster runs in {folder}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(context: typer.Context, *, folder: Folder = _FOLDER) -> None:
    """Runs a command against the cluster: `python -m tools.cluster run kubectl get pods`."""
    raise SystemExit(keeper.within(folder.absolute(), context.args))


@app.command(hidden=True)
def keep(*, folder: Folder = _FOLDER, node: Node = False, image: Images = []) -> None:  # noqa: B006 - typer reads it
    """Runs a cluster in this process until it is told to stop."""
    keeper.keep(folder, node=node, images=image)


@app.command(name="inside", hidden=True)
def inside_(folder: Path, images: Annotated[list[Path] | None, typer.Argument()] = None) -> None:
    """Runs the node as process 1 of its namespaces."""
    inside.become_first(folder, images or [])


def main() -> None:
    """Runs the command; a failure is one line on stderr."""
    try:
        app(standalone_mode=False)
    except RetrogradeError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(BAD_INPUT_STATUS if isinstance(error, NotFoundError | InvalidInputError) else 1) from None
    except typer.Abort:
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
