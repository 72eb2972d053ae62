"""The `retrograde` command, part seven: recipes for a trainer that runs elsewhere."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from retrograde.cli.app import RecipePath, app, console
from retrograde.cli.door import TRAINER, Authority, Certificate, Door, Key, Token
from retrograde.cli.run_folder import run_id_of
from retrograde.cli.submitting import follow, read_submitted, submit
from retrograde.v1 import run_pb2


@app.command(
    name="submit",
    epilog="Example: `retrograde submit recipes/countdown.yaml --trainer localhost:50051 "
    "--checkpoint /app/models/countdown-base --watch`",
)
def submit_(
    recipe: RecipePath,
    *,
    trainer: Annotated[str, TRAINER],
    run_id: Annotated[str, typer.Option("--run-id", metavar="ID", help="Default: of the recipe's name and hash.")] = "",
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="DIR", help="The model's folder in the trainer's pods.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the run until it ends; Ctrl-C ends that.")] = False,
    authority: Authority = None,
    certificate: Certificate = None,
    key: Key = None,
    token: Token = None,
) -> None:
    """Gives a recipe to a trainer that runs elsewhere; prints the run's id.

    Its paths are those of the trainer's pods. The same command finds the run again and continues one that has failed.
    """
    door = Door(trainer, authority, certificate, key, token)
    checked = read_submitted(recipe, checkpoint)
    run = asyncio.run(submit(door, checked, run_id or run_id_of(checked)))
    typer.echo(run.id)
    state = run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
    console().print(f"run {run.id}: {state}", highlight=False)
    if watch:
        asyncio.run(follow(door, run.id, console()))
        console().print(f"retrograde report {run.id} --trainer {trainer} brings its report", highlight=False)
