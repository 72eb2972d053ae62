"""Entry point of the `retrograde` command: a fault of the input is one line on stderr and status 2."""

from __future__ import annotations

import os

# The supervisor forks children beside a running gRPC client and never uses gRPC in the fork; read by grpc at import.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import typer
from typer.exceptions import TyperException

from retrograde.cli import app_dlq, app_gc, app_remote, app_runs, app_services, app_trees
from retrograde.cli.app import app
from retrograde.cli.running import INTERRUPTED_STATUS
from retrograde.recipe.recipe import RecipeError
from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError, RetrogradeError
from retrograde.runtime.settings import BAD_INPUT_STATUS
from retrograde.tasks.task import TaskError

_BAD_INPUT = (RecipeError, TaskError, InvalidInputError, ConflictError, NotFoundError)
__all__ = ["app_dlq", "app_gc", "app_remote", "app_runs", "app_services", "app_trees", "main"]


def main() -> None:
    """Runs the command."""
    try:
        raise SystemExit(app(standalone_mode=False))
    except TyperException as error:  # an option that does not exist, a value that is none
        if error.format_message():  # without arguments the help was printed already
            _leave(f"{error.format_message()}; `retrograde COMMAND --help` has examples", error.exit_code)
        raise SystemExit(error.exit_code) from None
    except _BAD_INPUT as error:
        _leave(error, BAD_INPUT_STATUS)
    except RetrogradeError as error:
        _leave(error, 1)
    except (typer.Abort, KeyboardInterrupt):
        raise SystemExit(INTERRUPTED_STATUS) from None


def _leave(error: Exception | str, status: int) -> None:
    typer.echo(f"error: {error}", err=True)
    raise SystemExit(status) from None


if __name__ == "__main__":
    main()
