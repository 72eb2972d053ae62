"""A Run resource is a run: made when it is applied, told in its status, cancelled when it is deleted."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from retrograde.runtime.errors import NotFoundError, UnavailableError
from retrograde.v1 import run_pb2
from services.trainer.controller import Controller
from services.trainer.kubernetes import run_resources
from services.trainer.kubernetes.api import ExpiredError, KubernetesApi
from services.trainer.kubernetes.run_resources import FINALIZER, RunResources, status_of
from services.trainer.launch import Job
from tests.unit.search.search_fakes import RECIPE
from tests.unit.trainer.fake_api import FakeApi, Object
from tests.unit.trainer.trainer_fakes import YAML, Trainer, until

RUNS = "/apis/retrograde.dev/v1alpha1/namespaces/lab/runs"
CRD = Path(__file__).parents[3] / "charts" / "retrograde" / "crds" / "runs.yaml"


@contextlib.asynccontextmanager
async def carried_out(api: FakeApi, controller: Controller) -> AsyncIterator[None]:
    """Run resources, until the end of the block."""
    drain = asyncio.Event()
    work = asyncio.create_task(RunResources(cast("KubernetesApi", api), "lab", controller).work(drain))
    try:
        yield
    finally:
        drain.set()
        await asyncio.wait_for(work, 60)


def apply(api: FakeApi, name: str, recipe: str = YAML) -> None:
    api.add(RUNS, {"metadata": {"name": name}, "spec": {"recipe": recipe}})


def resource(api: FakeApi, name: str) -> dict[str, Any]:
    return api.objects[f"{RUNS}/{name}"]


def state(api: FakeApi, name: str) -> str:
    return str(resource(api, name).get("status", {}).get("state"))


def finalizers(api: FakeApi, name: str) -> list[str]:
    return list(resource(api, name)["metadata"]["finalizers"])


def is_so(condition: Callable[[], object]) -> Callable[[], bool]:
    """The condition, false while what it reads is not there."""

    def check() -> bool:
        with contextlib.suppress(KeyError):
            return bool(condition())
        return False

    return check


async def test_an_applied_run_is_carried_out() -> None:
    """It works under the resource's name, held by a finalizer, and its end is the resource's state."""
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        apply(api, "lab-1")
        await until(is_so(lambda: resource(api, "lab-1")["status"]["stage"] == "one"))
        assert resource(api, "lab-1")["metadata"]["finalizers"] == [FINALIZER]
        assert state(api, "lab-1") == "Running"
        for stage in trainer.stages:
            stage.go.set()
        await until(is_so(lambda: resource(api, "lab-1")["metadata"]["finalizers"] == []))
    run = (await controller.record("lab-1")).run
    status = {"state": "Succeeded", "stages": "2/2", "recipeHash": run.recipe_hash}
    assert resource(api, "lab-1")["status"] == status
    assert "created" in trainer.told("lab-1")


async def test_a_deleted_run_is_cancelled() -> None:
    """The resource goes once the run has been cancelled; the run stays in the store."""
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        apply(api, "lab-1")
        await until(is_so(lambda: state(api, "lab-1") == "Running"))
        api.delete(f"{RUNS}/lab-1", resource(api, "lab-1")["metadata"]["uid"])
        await until(lambda: f"{RUNS}/lab-1" not in api.objects)
        assert (await controller.record("lab-1")).run.state == run_pb2.RUN_STATE_CANCELLED


async def test_a_resource_goes_although_others_held_it_too() -> None:
    """Deleted in the foreground the server holds it for a moment itself: that is not put back, so it goes."""
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        apply(api, "lab-1")
        await until(is_so(lambda: state(api, "lab-1") == "Running"))
        await trainer.backend.launch(Job("lab-1", "arm", "module", RECIPE, 1))
        trainer.backend.may_end.clear()
        api.patch(f"{RUNS}/lab-1", {"metadata": {"finalizers": [FINALIZER, "foregroundDeletion"]}})
        api.delete(f"{RUNS}/lab-1", resource(api, "lab-1")["metadata"]["uid"])
        await until(lambda: bool(trainer.backend.ending))
        api.patch(f"{RUNS}/lab-1", {"metadata": {"finalizers": [FINALIZER]}})
        trainer.backend.may_end.set()
        await until(lambda: f"{RUNS}/lab-1" not in api.objects)


async def test_finalizers_of_others_that_come_meanwhile_stay() -> None:
    """Between our look and our change somebody else holds the resource as well: both do."""
    trainer, api = Trainer(), Meanwhile()
    async with trainer.life() as controller, carried_out(api, controller):
        apply(api, "lab-1")
        await until(is_so(lambda: finalizers(api, "lab-1") == ["somebody/else", FINALIZER]))


class Meanwhile(FakeApi):
    """Somebody is quicker than the first change."""

    is_quick = True

    def patch(self, path: str, body: Object) -> Object:
        if self.is_quick:
            self.is_quick = False
            super().patch(path, {"metadata": {"finalizers": ["somebody/else"]}})
        return super().patch(path, body)


@pytest.mark.parametrize("is_told", [True, False], ids=["status told", "status not told yet"])
async def test_deleting_a_resource_cancels_the_run_of_its_recipe_in_other_words(*, is_told: bool) -> None:
    """The run was submitted with the same recipe as another text: it is the resource's all the same."""
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        await controller.create("lab-1", YAML, by="somebody")
        apply(api, "lab-1", "# a comment\n" + YAML)
        await until(is_so(lambda: state(api, "lab-1") == "Running"))
        if not is_told:
            del resource(api, "lab-1")["status"]
        api.delete(f"{RUNS}/lab-1", resource(api, "lab-1")["metadata"]["uid"])
        await until(lambda: f"{RUNS}/lab-1" not in api.objects)
        assert (await controller.record("lab-1")).run.state == run_pb2.RUN_STATE_CANCELLED


async def test_a_resource_whose_run_went_on_without_it_holds_it_again() -> None:
    """The run had failed and somebody continued it: looked at again, the resource is held until that ends."""
    trainer, api = Trainer(), FakeApi()
    trainer.stages[0].faults = [NotFoundError("no such object")]
    async with trainer.life() as controller:
        async with carried_out(api, controller):
            apply(api, "lab-1")
            await until(is_so(lambda: state(api, "lab-1") == "Failed" and not finalizers(api, "lab-1")))
        await controller.create("lab-1", YAML, by="somebody")
        async with carried_out(api, controller):
            await until(is_so(lambda: state(api, "lab-1") == "Running"))
            assert finalizers(api, "lab-1") == [FINALIZER]


async def test_a_wrong_recipe_is_refused_in_the_status() -> None:
    """The message is the one CreateRun would give, and nothing holds the resource."""
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        apply(api, "lab-1", "name: x\nnonsense: 1\n")
        await until(is_so(lambda: resource(api, "lab-1")["metadata"]["finalizers"] == [] and state(api, "lab-1")))
        assert state(api, "lab-1") == "Refused"
        assert "nonsense" in resource(api, "lab-1")["status"]["message"]


async def test_another_recipes_run_outlives_the_resource_that_took_its_name() -> None:
    """The resource is refused; deleting it does not cancel the run that somebody else made."""
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        await controller.create("lab-1", YAML, by="somebody")
        recipe = yaml.safe_load(YAML)
        apply(api, "lab-1", yaml.safe_dump({**recipe, "seed": recipe["seed"] + 1}))
        await until(is_so(lambda: state(api, "lab-1") == "Refused"))
        api.delete(f"{RUNS}/lab-1", resource(api, "lab-1")["metadata"]["uid"])
        await until(lambda: f"{RUNS}/lab-1" not in api.objects)
        assert (await controller.record("lab-1")).run.state == run_pb2.RUN_STATE_RUNNING


async def test_a_restarted_trainer_takes_resources_up_where_they_are() -> None:
    """One at work is followed on; one whose run failed stays failed and is not begun again."""
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        apply(api, "good")
        await until(is_so(lambda: resource(api, "good")["status"]["stage"] == "one"))
        await until(lambda: "good" in trainer.stages[0].at_work)  # or the fault might be its
        trainer.stages[0].faults = [NotFoundError("no such object")]
        apply(api, "bad")
        await until(is_so(lambda: state(api, "bad") == "Failed"))
    async with trainer.life() as controller, carried_out(api, controller):
        for stage in trainer.stages:
            stage.go.set()
        await until(is_so(lambda: state(api, "good") == "Succeeded"))
    assert state(api, "bad") == "Failed"
    assert "continued" not in trainer.told("bad")


async def test_a_watch_that_expired_is_begun_anew() -> None:
    """What was applied while nobody watched is found in the list; an API server that is away is waited for."""
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        await until(lambda: ("watch", RUNS) in api.calls)
        api.events = Deaf()
        apply(api, "unseen")
        api.events.put(ExpiredError("too old"))
        await until(is_so(lambda: state(api, "unseen") == "Running"))
        api.faults["patch"] = [UnavailableError("away")]
        trainer.stages[0].go.set()
        await until(is_so(lambda: resource(api, "unseen")["status"]["stage"] == "two"))


async def test_a_run_that_was_cancelled_stays_so_although_its_status_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An API server that is away at the end is told later; the run is not begun again for it."""
    monkeypatch.setattr(run_resources, "_PAUSE_SECONDS", 0.01)
    trainer, api = Trainer(), FakeApi()
    async with trainer.life() as controller, carried_out(api, controller):
        apply(api, "lab-1")
        await until(is_so(lambda: state(api, "lab-1") == "Running"))
        api.faults["patch"] = [UnavailableError("away")] * 3
        await controller.cancel("lab-1", by="ada")
        await until(is_so(lambda: resource(api, "lab-1")["metadata"]["finalizers"] == []))
        assert state(api, "lab-1") == "Cancelled"
    assert "continued" not in trainer.told("lab-1")


async def test_a_drain_does_not_stop_the_process_for_a_watch() -> None:
    """While the API server holds the last watch, all others go on."""
    trainer, api = Trainer(), Holds()
    async with trainer.life() as controller, carried_out(api, controller):
        await until(api.holds.is_set)
        asyncio.get_running_loop().call_later(0.05, api.lets_go.set)  # after the drain, which begins here
    assert api.has_let_go == {True}


class Holds(FakeApi):
    """A watch waits for somebody to let it go."""

    def __init__(self) -> None:
        super().__init__()
        self.holds, self.lets_go = threading.Event(), threading.Event()
        self.has_let_go: set[bool] = set()

    def watch(self, path: str, resource_version: str, seconds: int) -> Iterator[Object]:
        self.holds.set()
        self.has_let_go.add(self.lets_go.wait(5))
        yield from ()


class Deaf(queue.SimpleQueue[Any]):
    """Loses all events but errors."""

    def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        if isinstance(item, ExpiredError):
            super().put(item)


def test_a_status_has_what_the_crd_declares() -> None:
    """Every field of a status is in the schema, which would drop others silently; every state is in its enum."""
    version = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
    declared = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    run = run_pb2.Run(state=run_pb2.RUN_STATE_RUNNING, error="e", plan=["a"])
    run.stages.add(name="a", state=run_pb2.RUN_STATE_RUNNING, done=1, total=2, unit="u", detail="d")
    status = status_of(run)
    assert status.keys() == declared.keys()
    states = [name.removeprefix("RUN_STATE_").capitalize() for name in run_pb2.RunState.keys()[1:]]
    assert {*states, "Refused"} == set(declared["state"]["enum"])
    columns = {each["jsonPath"].rpartition(".")[2] for each in version["additionalPrinterColumns"]}
    assert columns - {"creationTimestamp"} <= declared.keys()
