"""`retrograde status`: how the runs of a folder's trainer stand, a line for each that has not ended."""

from __future__ import annotations

from retrograde.runtime.errors import RetrogradeError
from retrograde.v1 import run_pb2
from retrograde.wire.clients import TrainerClient

_PATIENCE_SECONDS = 2.0


async def run_lines(trainer: str) -> list[str]:
    """What `host:port` says of its runs; one line that says why when it does not answer."""
    async with TrainerClient(trainer, patience_seconds=_PATIENCE_SECONDS, deadline_seconds=_PATIENCE_SECONDS) as client:
        try:
            runs = await client.list_runs(run_pb2.RUN_STATE_RUNNING)
        except RetrogradeError as error:
            return [f"runs: the trainer does not answer: {error}"]
    return [_line(run) for run in runs]


def _line(run: run_pb2.Run) -> str:
    """Its stage at work, as far as that is, and what the stage says of itself."""
    stage = next((each for each in run.stages if each.state == run_pb2.RUN_STATE_RUNNING), None)
    if stage is None:
        return f"run {run.id}: between stages"
    counts = f"{stage.done}/{stage.total} {stage.unit}" if stage.total else ""
    return "  ".join(filter(None, (f"run {run.id}: {stage.name}", counts, stage.detail)))
