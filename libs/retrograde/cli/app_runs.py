"""The `retrograde` command, part six: runs watched, told and cancelled."""

from __future__ import annotations

import asyncio
import getpass
import json
from typing import Annotated

import typer

from retrograde.cli.app import Folder, app, results
from retrograde.cli.background import serving_addresses
from retrograde.cli.found_run import opened_run
from retrograde.cli.run_folder import RunFolder
from retrograde.cli.run_history import event_line, event_row, read_events, steps_lines
from retrograde.cli.watching import watch as watch_run
from retrograde.runtime.errors import NotFoundError
from retrograde.v1 import run_pb2
from retrograde.wire.clients import TrainerClient

Run = Annotated[str, typer.Argument(metavar="RUN", help="The --out of a run, or with --store its id.")]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="file:///DIRECTORY or s3://BUCKET?endpoint=...")
]


@app.command(epilog="Example: `retrograde watch build/demo`")
def watch(run: Run, *, store: StoreUrl = None) -> None:
    """Draws a run while it works: its stages, and for training curves of reward, loss, length and backtracks.

    Ctrl-C ends the watching, not the run. Without a terminal it prints lines.
    """
    with opened_run(run, store) as (opened, run_id):
        watch_run(opened, run_id, results())


@app.command(epilog="Example: `retrograde history build/demo`")
def history(
    run: Run,
    *,
    store: StoreUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each event.")] = False,
) -> None:
    """Tells all that happened to a run: stages, starts and ends of jobs, policies served, and who cancelled it."""
    with opened_run(run, store) as (opened, run_id):
        events = read_events(opened, run_id)
        if not events:
            raise NotFoundError(f"RUN: {run_id!r} has no history in this store; its folders in runs/ have the names")
        for event in events:
            typer.echo(json.dumps(event_row(event), ensure_ascii=False) if as_json else event_line(event))
        if not as_json:
            for line in steps_lines(opened, run_id, events):
                typer.echo(line)


@app.command(epilog="Example: `retrograde cancel build/up countdown-1a2b3c4d`")
def cancel(
    folder: Folder,
    run_id: Annotated[str, typer.Argument(metavar="[RUN_ID]", help="Default: the run that was started there.")] = "",
) -> None:
    """Cancels a run where it is, and ends its jobs; what it has stored stays, and running it again continues it."""
    path = folder.expanduser().absolute()
    trainer = (serving_addresses(path) or {}).get("trainer")
    if trainer is None:
        raise NotFoundError(f"DIR {path}: no trainer serves there; `retrograde run` or `retrograde up` starts one")
    run = asyncio.run(_cancel(trainer, run_id or RunFolder(path).run_id()))
    typer.echo(f"{run.id}: {run_pb2.RunState.Name(run.state).removeprefix('RUN_STATE_').lower()}")


async def _cancel(trainer: str, run_id: str) -> run_pb2.Run:
    async with TrainerClient(trainer) as client:
        return await client.cancel_run(run_id, by=getpass.getuser())
