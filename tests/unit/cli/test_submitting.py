"""`retrograde submit`, and reports and cancellations asked of a trainer that runs elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from recipes_cli import write_recipe

from retrograde.cli.__main__ import main
from retrograde.recipe.recipe import parse_recipe
from retrograde.v1 import run_pb2
from retrograde.v1 import trainer_service_pb2 as pb
from retrograde.v1.trainer_service_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server

RUNNING, SUCCEEDED, FAILED = run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED


class Trainer(TrainerServiceServicer):
    """A run that ends as `outcome`, at the second watch: at the first this trainer restarts."""

    def __init__(self) -> None:
        self.created: list[pb.CreateRunRequest] = []
        self.outcome: run_pb2.RunState.ValueType = SUCCEEDED
        self.num_watches = 0
        self.address = ""

    async def CreateRun(self, request: pb.CreateRunRequest, _context: object) -> pb.CreateRunResponse:
        self.created.append(request)
        return pb.CreateRunResponse(run=run_pb2.Run(id=request.run_id, state=RUNNING))

    async def GetRun(self, request: pb.GetRunRequest, _context: object) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=run_pb2.Run(id=request.run_id, state=RUNNING))

    async def WatchRun(self, request: pb.WatchRunRequest, context: Any) -> AsyncIterator[pb.WatchRunResponse]:
        self.num_watches += 1
        yield pb.WatchRunResponse(run=run_pb2.Run(id=request.run_id, state=RUNNING))
        if self.num_watches == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        yield pb.WatchRunResponse(run=run_pb2.Run(id=request.run_id, state=self.outcome, error="no such object"))

    async def CancelRun(self, request: pb.CancelRunRequest, _context: object) -> pb.CancelRunResponse:
        return pb.CancelRunResponse(run=run_pb2.Run(id=request.run_id, state=run_pb2.RUN_STATE_CANCELLED))

    async def GetRunReport(self, request: pb.GetRunReportRequest, context: Any) -> pb.GetRunReportResponse:
        if request.run_id != "done":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"run_id: {request.run_id!r} has no report yet")
        return pb.GetRunReportResponse(json=b"{}", html=b"<p>")


async def _serve(trainer: Trainer, ready: threading.Event, stop: asyncio.Event) -> None:
    server = grpc.aio.server()
    add_TrainerServiceServicer_to_server(trainer, server)
    trainer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    ready.set()
    await stop.wait()
    await server.stop(0)


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    """In a thread with a loop of its own: the command has one, too."""
    served, ready, loop = Trainer(), threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(served, ready, stop)))
    thread.start()
    try:
        assert ready.wait(60)
        yield served
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `retrograde ARGUMENTS`: (status, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["retrograde", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def in_cluster(folder: Path, **changes: Any) -> Path:
    """A recipe whose model is a folder of the trainer's pods."""
    return write_recipe(folder, policy={"checkpoint": "/models/base", "max_model_tokens": 256}, **changes)


def test_a_recipe_is_submitted(command: Command, trainer: Trainer, tmp_path: Path) -> None:
    """The trainer gets the whole recipe and who asks; stdout has the run's id, which the recipe decides."""
    recipe = in_cluster(tmp_path)
    status, out, _ = command("submit", recipe, "--trainer", trainer.address)
    (request,) = trainer.created
    sent = parse_recipe(request.recipe_yaml)
    assert (status, out) == (0, f"{request.run_id}\n")
    assert sent == parse_recipe(recipe.read_text())
    assert request.run_id == f"tiny-{sent.hash[:8]}"
    assert request.by


def test_the_models_folder_may_be_given_apart(command: Command, trainer: Trainer, tmp_path: Path) -> None:
    """A recipe of this machine goes to a cluster where its model is elsewhere, under a name of one's own."""
    recipe = write_recipe(tmp_path)
    assert command("submit", recipe, "--trainer", trainer.address, "--checkpoint", "/m", "--run-id", "mine")[0] == 0
    assert trainer.created[0].run_id == "mine"
    assert parse_recipe(trainer.created[0].recipe_yaml).policy.checkpoint == "/m"


def test_a_run_is_watched_to_its_end(command: Command, trainer: Trainer, tmp_path: Path) -> None:
    """Over a restart of the trainer; the last line says how to get the report."""
    status, _, err = command("submit", in_cluster(tmp_path), "--trainer", trainer.address, "--watch")
    assert (status, trainer.num_watches) == (0, 2)
    assert err.splitlines()[-1].startswith("retrograde report tiny-")


def test_a_run_that_fails_fails_the_command(command: Command, trainer: Trainer, tmp_path: Path) -> None:
    """The error is the run's own."""
    trainer.outcome = FAILED
    status, _, err = command("submit", in_cluster(tmp_path), "--trainer", trainer.address, "--watch")
    assert status == 1
    assert "no such object" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"policy": {"checkpoint": "base"}}, (), "policy.checkpoint: 'base' is a path beside the recipe"),
        ({"task": "chess"}, (), "task: 'chess' is unknown"),
        ({"searches": {}}, (), "searches"),
        ({}, ("--trainer", "nowhere"), "--trainer 'nowhere': write host:port"),
        ({}, ("--certificate", "c.pem"), "--certificate and --key: one without the other"),
        ({}, ("--token", "none"), "none"),
    ],
)
def test_what_cannot_work_is_refused_before_it_is_sent(
    command: Command, trainer: Trainer, tmp_path: Path, changes: dict[str, Any], arguments: tuple[str, ...], words: str
) -> None:
    """Status 2 and a line that names the field or option, its value and the fix."""
    status, _, err = command("submit", changed(tmp_path, changes), "--trainer", trainer.address, *arguments)
    assert status == 2
    assert words in err
    assert trainer.created == []


def changed(folder: Path, changes: dict[str, Any]) -> Path:
    path = in_cluster(folder)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return path


def test_problems_of_a_file_must_be_in_the_pods(command: Command, trainer: Trainer, tmp_path: Path) -> None:
    """A relative file is refused with its key; an absolute one is the trainer's to read."""
    problems = yaml.safe_load(in_cluster(tmp_path).read_text())["problems"]
    for file, status in (("mine.jsonl", 2), ("/data/mine.jsonl", 0)):
        source = {"options": {"file": file}}
        recipe = changed(
            tmp_path, {"task": "math", "problems": {**problems, "search": source, "rl": source, "evaluate": source}}
        )
        ended, _, err = command("submit", recipe, "--trainer", trainer.address)
        assert ended == status, err
        assert ("problems.search.options.file: 'mine.jsonl'" in err) == (status == 2)


def test_a_report_comes_through_the_trainer(command: Command, trainer: Trainer, tmp_path: Path) -> None:
    """Both files, into the folder that is named; a run without a report is an error, and nothing is written."""
    target = tmp_path / "there"
    status, out, _ = command("report", "done", "--trainer", trainer.address, "--to", target)
    assert (status, out.split()) == (0, [f"{target}/report.json", f"{target}/report.html"])
    assert (target / "report.html").read_bytes() == b"<p>"
    status, _, err = command("report", "r", "--trainer", trainer.address, "--to", tmp_path / "none")
    assert (status, "'r' has no report yet" in err, (tmp_path / "none").exists()) == (2, True, False)
    assert command("report", "r", "--trainer", "a:1", "--store", "file:///")[0] == 2


def test_a_run_is_cancelled_through_the_trainer(command: Command, trainer: Trainer) -> None:
    """By its id; without --trainer a folder is meant."""
    assert command("cancel", "r", "--trainer", trainer.address)[:2] == (0, "r: cancelled\n")
    status, _, err = command("cancel", "/nowhere")
    assert (status, "name one that runs elsewhere with --trainer" in err) == (2, True)
