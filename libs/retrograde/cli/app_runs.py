"""The `retrograde` command, part six: runs watched, told, reported and cancelled."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from retrograde.analysis.report import write_report
from retrograde.cli.app import app, results
from retrograde.cli.background import serving_addresses
from retrograde.cli.door import TRAINER, Authority, Certificate, Door, Key, Token
from retrograde.cli.found_run import opened_run
from retrograde.cli.run_folder import RunFolder
from retrograde.cli.run_history import event_line, event_row, read_events, steps_lines
from retrograde.cli.submitting import cancel_run, fetch_report
from retrograde.cli.watching import watch as watch_run
from retrograde.runtime.errors import NotFoundError
from retrograde.v1 import run_pb2

Run = Annotated[str, typer.Argument(metavar="RUN", help="The --out of a run, or with --store its id.")]
AnyRun = Annotated[str, typer.Argument(metavar="RUN", help="The --out of a run, or its id with --trainer or --store.")]
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


@app.command(epilog="Examples: `retrograde report build/demo`, `retrograde report RUN --trainer localhost:50051`")
def report(
    run: AnyRun,
    *,
    store: StoreUrl = None,
    trainer: Annotated[str | None, TRAINER] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Default: the run's folder, or RUN.")] = None,
    authority: Authority = None,
    certificate: Certificate = None,
    key: Key = None,
    token: Token = None,
) -> None:
    """Makes report.json and report.html again from what the run has stored so far.

    Of a run that ran elsewhere it brings them: from its store, or through its trainer as they were made.
    """
    target = to or Path(run)
    if store and trainer:
        raise typer.BadParameter("both have the report; give one of them", param_hint="--store --trainer")
    if trainer is None:
        with opened_run(run, store) as (opened, run_id):
            write_report(opened, f"runs/{run_id}")
            paths = RunFolder.at(target).bring_report(opened, run_id)
    else:
        files = asyncio.run(fetch_report(Door(trainer, authority, certificate, key, token), run))
        paths = RunFolder.at(target).write_report(files)
    for path in paths:
        typer.echo(path)


@app.command(
    epilog="Examples: `retrograde cancel build/up countdown-1a2b3c4d`, "
    "`retrograde cancel countdown-1a2b3c4d --trainer localhost:50051`"
)
def cancel(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The --out of a run, or with --trainer its id.")],
    run_id: Annotated[str, typer.Argument(metavar="[RUN_ID]", help="Default: the run that was started there.")] = "",
    *,
    trainer: Annotated[str | None, TRAINER] = None,
    authority: Authority = None,
    certificate: Certificate = None,
    key: Key = None,
    token: Token = None,
) -> None:
    """Cancels a run where it is, and ends its jobs; what it has stored stays, and running it again continues it."""
    if trainer is None:
        path = Path(run).expanduser().absolute()
        trainer = (serving_addresses(path) or {}).get("trainer")
        if trainer is None:
            raise NotFoundError(f"DIR {path}: no trainer serves there; name one that runs elsewhere with --trainer")
        run = run_id or RunFolder(path).run_id()
    ended = asyncio.run(cancel_run(Door(trainer, authority, certificate, key, token), run))
    typer.echo(f"{ended.id}: {run_pb2.RunState.Name(ended.state).removeprefix('RUN_STATE_').lower()}")
