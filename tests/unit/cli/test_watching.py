"""A run as people watch it, and what is told of it afterwards."""

from __future__ import annotations

import getpass
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from rich.console import Console
from typer.testing import CliRunner

from retrograde.cli.__main__ import app
from retrograde.cli.door import Door
from retrograde.cli.found_run import existing_file
from retrograde.cli.run_folder import RunFolder
from retrograde.cli.sparklines import sparkline
from retrograde.cli.submitting import cancel_run
from retrograde.cli.watching import watch
from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.v1 import run_pb2
from retrograde.v1 import trainer_service_pb2 as pb
from retrograde.v1.trainer_service_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server

RUNNING, SUCCEEDED = run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_SUCCEEDED


class Work:
    """A run in a store that goes on while somebody sleeps: it trains three steps, then it has ended."""

    def __init__(self, folder: Path) -> None:
        self.store = DirectoryStore(folder / "store")
        self.run = run_pb2.Run(id="r", state=RUNNING, plan=["search", "rl astro", "report"])
        search = self.run.stages.add(name="search", state=SUCCEEDED, done=60, total=60, unit="trees")
        search.started_at.seconds, search.finished_at.seconds = 100, 165
        search.cost.wall_seconds = 65
        self.training = self.run.stages.add(name="rl astro", state=RUNNING, total=3, unit="steps", detail="starting")
        self.num_steps = 0
        self.keep()

    def keep(self) -> None:
        self.store.put("runs/r/run.pb", self.run.SerializeToString())

    def sleep(self, _seconds: float) -> None:
        self.num_steps += 1
        values = {"reward": 0.25 * self.num_steps, "loss": 1.5, "step_seconds": 2.0, "generated_tokens": 100}
        self.store.put(f"runs/r/jobs/astro_rl/steps/{self.num_steps:06d}.json", json.dumps(values).encode())
        self.training.done = self.num_steps
        if self.num_steps == 3:
            self.run.state = self.training.state = SUCCEEDED
        self.keep()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_on_a_terminal_the_run_is_drawn_with_its_curves(work: Work) -> None:
    """The last picture has every stage of the plan, the figures of the latest step and a curve over all steps."""
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    assert watch(work.store, "r", console, work.sleep).state == SUCCEEDED
    last = console.file.getvalue().rpartition("✓ r  ")[2]
    lines = [line.rstrip() for line in last.splitlines()]
    assert lines[:8] == [
        "succeeded",
        "✓ search    60/60 trees  1 min 05 s",
        "✓ rl astro    3/3 steps",
        "· report",
        "",
        "rl astro  step 3: reward 0.750, loss 1.5, 50 tokens/s",
        "  reward  ▁▅█  0.75  0.25 to 0.75",
        "  loss    ▁▁▁  1.5   1.5 to 1.5",
    ]


def test_elsewhere_lines_are_printed(work: Work) -> None:
    """A line when a stage changes, and the curves at the end."""
    console = Console(file=io.StringIO(), width=120)
    watch(work.store, "r", console, work.sleep)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines[:2] == ["search: done in 1 min 05 s  60/60 trees", "rl astro: running  0/3 steps  starting"]
    assert lines[2].startswith("rl astro: done")
    assert "  reward  ▁▅█  0.75  0.25 to 0.75" in lines


def test_watching_an_unknown_run_names_it(work: Work) -> None:
    """And says where the names are."""
    with pytest.raises(NotFoundError, match="RUN: 'x' is unknown in this store"):
        watch(work.store, "x", Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([2.0, 2.0], "▁▁"),
        ([0.0, 7.0], "▁█"),
        ([0.0, 2.0, 6.0, 8.0], "▁█"),  # means of 0 and 2, of 6 and 8
        ([0.0, float("nan"), 1.0], "▁█"),  # without what is no number
        ([float("nan")], " "),
    ],
)
def test_a_curve_in_one_line(values: list[float], shown: str) -> None:
    """Of two columns: each shows the mean of its share."""
    assert sparkline(values, 2) == shown


def event(number: int, seconds: int, by: str = "trainer", **happened: object) -> run_pb2.RunEvent:
    told = run_pb2.RunEvent(number=number, by=by, **happened)
    told.at.FromSeconds(seconds)
    return told


EVENTS = [
    event(1, 0, "ada", created=run_pb2.RunCreated(recipe_hash="abc", plan=["search", "rl astro"])),
    event(2, 1, stage_began=run_pb2.StageBegan(name="rl astro", unit="steps")),
    event(3, 2, policy_published=run_pb2.PolicyPublished(checkpoint_key="k", policy_version=7, gap_seconds=0.25)),
    event(4, 3, job_started=run_pb2.JobStarted(job="astro_rl", attempt=1, num_processes=2)),
    event(5, 60, job_ended=run_pb2.JobEnded(
        job="astro_rl", attempt=1, outcome=run_pb2.JOB_OUTCOME_FAILED, reason="killed by SIGKILL")),
    event(6, 61, stage_waits=run_pb2.StageWaits(name="rl astro", reason="rollouts: away")),
    event(7, 3600, stage_finished=run_pb2.StageFinished(stage=run_pb2.Stage(name="rl astro", unit="steps", done=3))),
    event(8, 3601, "grace", ended=run_pb2.RunEnded(state=run_pb2.RUN_STATE_CANCELLED)),
    event(9, 3602, "ada", continued=run_pb2.RunContinued()),
]  # fmt: skip


def test_the_history_of_a_run_is_told(tmp_path: Path, work: Work) -> None:
    """A line for each event with its time, who did it where it was not the trainer, and the steps of each job."""
    for each in EVENTS:
        work.store.put(f"runs/r/history/{each.number:06d}-x.pb", each.SerializeToString())
    for step in (1, 2):
        work.store.put(f"runs/r/jobs/astro_rl/steps/{step:06d}.json", b'{"policy_version": %d}' % (6 + step))
    told = CliRunner().invoke(app, ["history", "r", "--store", f"file://{tmp_path / 'store'}"])
    assert told.output.splitlines() == [
        "1970-01-01 00:00:00  run created from recipe abc, 2 stages  (by ada)",
        "1970-01-01 00:00:01  stage rl astro begins",
        "1970-01-01 00:00:02  policy version 7 served from k, requests waited 0.25 s",
        "1970-01-01 00:00:03  job astro_rl started, attempt 1, ranks: 2",
        "1970-01-01 00:01:00  job astro_rl failed: killed by SIGKILL",
        "1970-01-01 00:01:01  stage rl astro waits: rollouts: away",
        "1970-01-01 01:00:00  stage rl astro done in 0.0 s, 3 steps",
        "1970-01-01 01:00:01  run cancelled  (by grace)",
        "1970-01-01 01:00:02  run continues  (by ada)",
        "job astro_rl: 2 steps, samples of policy versions 7 to 8",
    ]
    as_json = CliRunner().invoke(app, ["history", "r", "--store", f"file://{tmp_path / 'store'}", "--json"])
    rows = [json.loads(line) for line in as_json.output.splitlines()]
    assert rows[7] == {
        "number": "8", "at": "1970-01-01T01:00:01Z", "by": "grace", "ended": {"state": "RUN_STATE_CANCELLED"},
    }  # fmt: skip


def test_a_folder_without_a_run_is_refused_and_not_made(tmp_path: Path) -> None:
    """Neither watching nor history makes the folder that was misspelt."""
    for command in ("watch", "history"):
        result = CliRunner().invoke(app, [command, str(tmp_path / "none")])
        assert isinstance(result.exception, InvalidInputError)
        assert "holds no run" in str(result.exception)
    with pytest.raises(InvalidInputError, match="--store: /no/where does not exist; correct the path"):
        existing_file("--store", "file:///no/where")
    assert list(tmp_path.iterdir()) == []


class Trainer(TrainerServiceServicer):
    """Cancels what it is asked to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def CancelRun(self, request: pb.CancelRunRequest, _context: object) -> pb.CancelRunResponse:
        self.asked.append((request.run_id, request.by))
        return pb.CancelRunResponse(run=run_pb2.Run(id=request.run_id, state=run_pb2.RUN_STATE_CANCELLED))


@pytest.fixture
async def trainer() -> AsyncIterator[tuple[Trainer, str]]:
    server, trainer = grpc.aio.server(), Trainer()
    add_TrainerServiceServicer_to_server(trainer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield trainer, f"127.0.0.1:{port}"
    await server.stop(0)


async def test_a_run_is_cancelled_in_the_name_of_its_user(trainer: tuple[Trainer, str]) -> None:
    """The trainer learns who asked."""
    asked, address = trainer
    assert (await cancel_run(Door(address), "r")).state == run_pb2.RUN_STATE_CANCELLED
    assert asked.asked == [("r", getpass.getuser())]


def test_cancelling_where_nothing_serves_says_so(tmp_path: Path) -> None:
    """The error names the folder and what starts a trainer."""
    result = CliRunner().invoke(app, ["cancel", str(RunFolder.at(tmp_path).path)])
    assert isinstance(result.exception, NotFoundError)
    assert "no trainer serves there" in str(result.exception)
