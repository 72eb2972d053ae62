"""The `retrograde` command, part five: clearing up after runs."""

from __future__ import annotations

from collections import deque
from typing import Annotated

import typer

from retrograde.cli.app import app
from retrograde.cli.found_run import existing_file
from retrograde.cli.garbage import Garbage, clear, ended_run, find, idle_seconds, seconds_of
from retrograde.runtime.adapters import open_store

StoreUrl = Annotated[str, typer.Option("--store", metavar="URL", help="file:///DIRECTORY or s3://BUCKET?endpoint=...")]
RunIds = Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="Runs that have ended.")]


@app.command(epilog="Example: `retrograde gc --store file:///srv/store countdown-1a2b3c4d --dry-run`")
def gc(
    run_ids: RunIds,
    *,
    store: StoreUrl,
    older_than: Annotated[str, typer.Option("--older-than", metavar="30d", help="Leave runs that ended later.")] = "0s",
    keep_report: Annotated[
        bool, typer.Option("--keep-report", help="Everything goes but state, history and report.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and touch nothing.")] = False,
) -> None:
    """Deletes what ended runs left and nobody needs: logs of trees, saves of jobs, policies of RL, half uploads.

    Trees, solutions, data sets, checkpoints, evaluations and the report stay. A run that failed or was cancelled can
    still be continued, from the last tree or training that it finished; after --keep-report it cannot. A run that has
    not ended is refused before anything is touched. Interrupted, the same command goes on.
    """
    seconds, opened = seconds_of(older_than), open_store(existing_file("--store", store))
    runs = [ended_run(opened, run_id) for run_id in run_ids]
    for run_id, run in zip(run_ids, runs, strict=True):
        if idle_seconds(opened, run) < seconds:
            typer.echo(f"{run_id}: kept, ended less than {older_than} ago")
            continue
        garbage = find(opened, run_id, keeps_report=keep_report)
        if not dry_run:
            ended_run(opened, run_id)  # nobody continued it while it was listed
            deque(clear(opened, garbage), maxlen=0)
        _tell(garbage, "would go" if dry_run else "gone")


def _tell(garbage: Garbage, what: str) -> None:
    for kind, objects in sorted(garbage.objects.items()):
        num_bytes = sum(listed.num_bytes for listed in objects)
        typer.echo(f"{garbage.run_id}: {kind}: {len(objects):,} objects, {num_bytes:,} bytes {what}")
    if garbage.half_uploads:
        typer.echo(f"{garbage.run_id}: half uploads: {len(garbage.half_uploads):,} {what}, of unknown size")
    if not garbage.objects and not garbage.half_uploads:
        typer.echo(f"{garbage.run_id}: nothing to clear")
