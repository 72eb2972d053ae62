"""Runs are created once, cancelled to a named state, continued after a restart, and share the served policy."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import yaml

from retrograde.runtime.errors import (
    ConflictError,
    FencedError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    RetrogradeError,
    UnavailableError,
)
from retrograde.v1 import run_pb2
from retrograde.v1 import trainer_service_pb2 as pb
from retrograde.v1.trainer_service_pb2_grpc import add_TrainerServiceServicer_to_server
from retrograde.wire.clients import TrainerClient
from retrograde.wire.topics import cancelled_key
from services.trainer.controller import Controller
from services.trainer.history import History, rebuilt
from services.trainer.launch import Job, JobHandle
from services.trainer.servicer import TrainerServicer
from tests.unit.search.search_fakes import RECIPE
from tests.unit.trainer.trainer_fakes import YAML, Trainer, ended, until


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


async def test_creating_twice_at_once_makes_one_run(trainer: Trainer) -> None:
    """Of ten callers with one id all get the run, whose first stage begins once."""
    async with trainer.life() as controller:
        runs = await asyncio.gather(*(controller.create("r", YAML, f"caller {i}") for i in range(10)))
        await until(lambda: trainer.stages[0].begun == ["r"])
    assert [run.id for run in runs] == ["r"] * 10
    assert trainer.told("r") == ["created", "stage_began"]


async def test_another_recipe_under_the_same_id_is_refused(trainer: Trainer) -> None:
    """The run that is there goes on as it was."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        other = RECIPE.model_copy(update={"seed": 8}).model_dump(mode="json")
        with pytest.raises(ConflictError, match="run_id: 'r' belongs to recipe"):
            await controller.create("r", yaml.safe_dump(other), "grace")
        assert (await controller.record("r")).run.recipe_hash == RECIPE.hash


async def test_a_restarted_trainer_goes_on(trainer: Trainer) -> None:
    """The stage at work begins again and what was done does not; one who watches from the first moment sees the end."""
    trainer.stages[0].go.set()
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await until(lambda: trainer.stages[1].at_work == {"r"})
    trainer.stages[1].go.set()
    async with trainer.life() as controller:
        run = await ended(controller, "r")
    assert (run.state, trainer.stages[0].begun, trainer.stages[1].begun) == (
        run_pb2.RUN_STATE_SUCCEEDED, ["r"], ["r", "r"],
    )  # fmt: skip
    assert trainer.told("r") == [
        "created", "stage_began", "stage_finished", "stage_began",
        "continued", "stage_began", "stage_finished", "ended",
    ]  # fmt: skip
    run.ClearField("trainer")  # whoever wrote it last
    assert rebuilt("r", History(trainer.store, "r").read()) == run


async def test_a_trainer_leaves_its_runs_to_one_that_begins_later(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops its stages, ends no job, tells nothing, sends its watchers away, and ends with the reason."""
    monkeypatch.setattr("services.trainer.controller._LOOK_EVERY_SECONDS", 0.01)
    with pytest.raises(FencedError, match=r"^trainer 000001-\w+: trainer 000002-\w+ has taken the store over"):
        await taken_over(trainer)
    assert (trainer.backend.at_work, trainer.stages[0].at_work) == ([JobHandle("r", "arm")], set())
    assert not trainer.store.exists(cancelled_key("r"))
    assert trainer.told("r") == [
        "created", "stage_began",
        "continued", "stage_began", "stage_finished", "stage_began", "stage_finished", "ended",
    ]  # fmt: skip


async def taken_over(trainer: Trainer) -> None:
    """A life in which another trainer does the run."""
    later = Trainer()
    later.store = trainer.store
    for stage in later.stages:
        stage.go.set()
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await trainer.backend.launch(Job("r", "arm", "module", RECIPE, 1))
        await until(lambda: trainer.stages[0].at_work == {"r"})
        async with later.life() as successor:
            assert (await ended(successor, "r")).state == run_pb2.RUN_STATE_SUCCEEDED
            with pytest.raises(UnavailableError, match="draining"):
                await watched(controller, trainer.drain)
            with pytest.raises(FencedError):
                await controller.cancel("r", "grace")


async def watched(controller: Controller, drain: asyncio.Event) -> None:
    """The run, as far as it can be watched there."""
    async with asyncio.timeout(60):
        async for _ in (await controller.record("r")).watch(drain):
            pass


async def test_cancelling_ends_the_jobs_and_names_the_state(trainer: Trainer) -> None:
    """Run and stage are CANCELLED by whoever asked, no job works on, and creating the run again continues it."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await until(lambda: trainer.stages[0].at_work == {"r"})
        await trainer.backend.launch(Job("r", "arm", "module", RECIPE, 1))
        run = await controller.cancel("r", "grace")
        assert (run.state, run.stages[0].state) == (run_pb2.RUN_STATE_CANCELLED, run_pb2.RUN_STATE_CANCELLED)
        assert (trainer.backend.at_work, trainer.stages[0].at_work) == ([], set())
        assert trainer.store.exists(cancelled_key("r"))  # workers pass its problems over
        assert await controller.cancel("r", "grace") == run
        for stage in trainer.stages:
            stage.go.set()
        await controller.create("r", YAML, "ada")
        assert (await ended(controller, "r")).state == run_pb2.RUN_STATE_SUCCEEDED
    events = [(event.WhichOneof("happened"), event.by) for event in History(trainer.store, "r").read()]
    told = [("job_started", "trainer"), ("job_ended", "trainer"), ("ended", "grace"), ("continued", "ada")]
    assert events[2:6] == told


async def test_creating_and_cancelling_at_once_leave_one_state(trainer: Trainer) -> None:
    """Whatever the order: memory, store and history agree, and what works is what the state says."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        calls = [
            controller.cancel("r", "grace") if i % 2 else controller.create("r", YAML, "ada") for i in range(1, 13)
        ]
        await asyncio.gather(*calls)
        run = (await controller.record("r")).run
        await until(lambda: (trainer.stages[0].at_work == {"r"}) == (run.state == run_pb2.RUN_STATE_RUNNING))
        stored = run_pb2.Run.FromString(trainer.store.get("runs/r/run.pb"))
        assert run.state == stored.state == rebuilt("r", History(trainer.store, "r").read()).state


async def test_a_run_that_ended_before_its_cancel_stays_as_it_ended(trainer: Trainer) -> None:
    """SUCCEEDED is no state that a late cancel takes away."""
    for stage in trainer.stages:
        stage.go.set()
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await ended(controller, "r")
        assert (await controller.cancel("r", "grace")).state == run_pb2.RUN_STATE_SUCCEEDED
    assert trainer.told("r")[-1] == "ended"


async def test_a_failed_stage_fails_its_run_and_ends_its_jobs(trainer: Trainer) -> None:
    """The error is the stage's; nothing of the run works on."""
    trainer.stages[0].faults = [InvalidInputError("problems.search.count: 0 is too few")]
    await trainer.backend.launch(Job("r", "arm", "module", RECIPE, 1))
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        run = await ended(controller, "r")
    assert (run.state, run.error) == (run_pb2.RUN_STATE_FAILED, "problems.search.count: 0 is too few")
    assert trainer.backend.at_work == []


@pytest.mark.parametrize("error", [UnavailableError("verifier: away"), OverloadedError("policy: full")])
async def test_a_stage_waits_for_a_service_that_is_away_or_full(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, error: RetrogradeError
) -> None:
    """It is run again until the service answers; the history says once what it waited for."""
    monkeypatch.setattr("services.trainer.waiting._PAUSE_SECONDS", 0.01)
    for stage in trainer.stages:
        stage.go.set()
    trainer.stages[0].faults = [error] * 3
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        assert (await ended(controller, "r")).state == run_pb2.RUN_STATE_SUCCEEDED
    (waits,) = [event.stage_waits for event in History(trainer.store, "r").read() if event.HasField("stage_waits")]
    assert (waits.name, waits.reason) == ("one", str(error))


@pytest.mark.parametrize("is_same", [True, False], ids=["same weights", "other weights"])
async def test_runs_take_turns_at_the_served_policy(trainer: Trainer, *, is_same: bool) -> None:
    """Two runs whose stages need the same weights work together; with different ones the second waits and says so."""
    for i, run_id in enumerate(("a", "b")):
        weights = b"weights" if is_same else b"weights %d" % i
        trainer.store.put(f"runs/{run_id}/checkpoints/base/MANIFEST.json", weights)
    trainer.stages[0].go.set()
    async with trainer.life() as controller:
        await controller.create("a", YAML, "ada")
        await until(lambda: trainer.stages[1].at_work == {"a"})
        await controller.create("b", YAML, "ada")
        if is_same:
            await until(lambda: trainer.stages[1].at_work == {"a", "b"})
        else:
            await until(lambda: "stage_waits" in trainer.told("b"))
            assert trainer.stages[1].at_work == {"a"}
        trainer.stages[1].go.set()
        states = [(await ended(controller, run_id)).state for run_id in ("a", "b")]
    assert states == [run_pb2.RUN_STATE_SUCCEEDED] * 2
    assert trainer.stages[1].begun == ["a", "b"]


async def test_runs_are_listed_by_pages_and_by_state(trainer: Trainer) -> None:
    """Newest first; the pages make the list; an unknown token is refused."""
    async with trainer.life() as controller:
        for run_id in ("a", "b", "c"):
            await controller.create(run_id, YAML, "ada")
        await controller.cancel("b", "ada")
        first, token = await controller.list(run_pb2.RUN_STATE_UNSPECIFIED, 2, "")
        rest, end = await controller.list(run_pb2.RUN_STATE_UNSPECIFIED, 2, token)
        cancelled, _ = await controller.list(run_pb2.RUN_STATE_CANCELLED, 0, "")
        with pytest.raises(InvalidInputError, match="page_token: 'x' is none"):
            await controller.list(run_pb2.RUN_STATE_UNSPECIFIED, 2, "x")
    assert [run.id for run in (*first, *rest)] == ["c", "b", "a"]
    assert (len(first), end, [run.id for run in cancelled]) == (2, "", ["b"])


async def test_an_unknown_run_is_named(trainer: Trainer) -> None:
    """Whether it is asked for, cancelled, or its history read."""
    async with trainer.life() as controller:
        for ask in (controller.record("nope"), controller.cancel("nope", "ada"), controller.history("nope")):
            with pytest.raises(NotFoundError, match="run_id: 'nope' is unknown"):
                await ask


async def test_callers_are_named_in_the_history(trainer: Trainer) -> None:
    """Over gRPC: by the name they give, else by their address; the client reads the history back."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    async with trainer.life() as controller:
        add_TrainerServiceServicer_to_server(TrainerServicer(controller, trainer.drain), server)
        await server.start()
        async with TrainerClient(f"127.0.0.1:{port}") as client:
            try:
                await client.create_run("r", YAML)
                await until(lambda: trainer.stages[0].at_work == {"r"})
                await client.cancel_run("r", by="grace")
                events = await client.run_history("r")
                states = [(run.id, run.state) for run in await client.list_runs(run_pb2.RUN_STATE_CANCELLED)]
            finally:
                await server.stop(0)
    assert states == [("r", run_pb2.RUN_STATE_CANCELLED)]
    assert [event.WhichOneof("happened") for event in events] == ["created", "stage_began", "ended"]
    assert (events[0].by.startswith("ipv4:127.0.0.1:"), events[2].by) == (True, "grace")


async def test_a_trainer_that_stands_by_answers_nothing(trainer: Trainer) -> None:
    """Every RPC is UNAVAILABLE, so that clients ask again, until this trainer leads."""
    leads = False
    async with trainer.life() as controller:
        servicer = TrainerServicer(controller, trainer.drain, lambda: leads)
        peer: Any = SimpleNamespace(peer=lambda: "ipv4:127.0.0.1:1")
        for answer in (
            servicer.CreateRun(pb.CreateRunRequest(run_id="r", recipe_yaml=YAML), peer),
            servicer.GetRun(pb.GetRunRequest(run_id="r"), peer),
            servicer.ListRuns(pb.ListRunsRequest(), peer),
            servicer.CancelRun(pb.CancelRunRequest(run_id="r"), peer),
            anext(servicer.WatchRun(pb.WatchRunRequest(run_id="r"), peer)),
            servicer.GetRunHistory(pb.GetRunHistoryRequest(run_id="r"), peer),
            servicer.GetRunReport(pb.GetRunReportRequest(run_id="r"), peer),
        ):
            with pytest.raises(UnavailableError, match="stands by"):
                await answer
        leads = True
        assert not (await servicer.ListRuns(pb.ListRunsRequest(), peer)).runs


async def test_a_report_is_given_once_it_is_made(trainer: Trainer) -> None:
    """As it is stored; before, and for a run nobody knows, the error says so."""
    async with trainer.life() as controller:
        with pytest.raises(NotFoundError, match="'r' is unknown"):
            await controller.report("r")
        await controller.create("r", YAML, "ada")
        with pytest.raises(NotFoundError, match="'r' has no report yet"):
            await controller.report("r")
        trainer.store.put("runs/r/report.json", b"{}")
        trainer.store.put("runs/r/report.html", b"<p>")
        assert await controller.report("r") == (b"{}", b"<p>")
