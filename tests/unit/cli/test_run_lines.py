"""`retrograde status` says how far the runs are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from retrograde.cli.run_lines import run_lines
from retrograde.v1 import run_pb2
from retrograde.v1 import trainer_service_pb2 as pb
from retrograde.v1.trainer_service_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server


def run(run_id: str, state: run_pb2.RunState.ValueType, *stages: run_pb2.Stage) -> run_pb2.Run:
    return run_pb2.Run(id=run_id, state=state, stages=stages)


SEARCHING = run_pb2.Stage(
    name="search",
    state=run_pb2.RUN_STATE_RUNNING,
    done=12,
    total=40,
    unit="trees",
    detail="9 solved, 60 iterations, 1,234 tokens/s, 1 min 05 s left",
)
PROBLEMS = run_pb2.Stage(name="problems", state=run_pb2.RUN_STATE_SUCCEEDED, done=3, total=3)


class Trainer(TrainerServiceServicer):
    """Knows three runs."""

    async def ListRuns(self, request: pb.ListRunsRequest, _context: object) -> pb.ListRunsResponse:
        running, succeeded = run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_SUCCEEDED
        runs = [run("a", running, PROBLEMS, SEARCHING), run("b", succeeded, PROBLEMS), run("c", running, PROBLEMS)]
        return pb.ListRunsResponse(runs=[each for each in runs if each.state == request.state])


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_TrainerServiceServicer_to_server(Trainer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def test_runs_at_work_are_told_with_their_stage_its_rate_and_the_time_left(address: str) -> None:
    """A line for each run that goes on; one that has ended is not told."""
    assert await run_lines(address) == [
        "run a: search  12/40 trees  9 solved, 60 iterations, 1,234 tokens/s, 1 min 05 s left",
        "run c: between stages",
    ]


async def test_a_trainer_that_is_away_is_told() -> None:
    """In place of the runs."""
    (told,) = await run_lines("127.0.0.1:1")
    assert told.startswith("runs: the trainer does not answer: ")
