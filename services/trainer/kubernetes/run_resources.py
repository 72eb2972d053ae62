"""Run resources: `kubectl apply -f run.yaml` makes a run of its name, `kubectl get runs` tells how it stands.

    applied           the run is created as by CreateRun; from then on the resource's status has its recipe's hash
    while it works    its state, stage and progress are the status; a finalizer holds the resource
    deleted           the run is cancelled, then the finalizer goes; what the run has stored stays

One task carries out each resource. The list is watched from its version on; when the server does not know that version
any more, the list is read again, which also finds what happened while nobody watched.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from retrograde.recipe.recipe import RecipeError, parse_recipe
from retrograde.runtime.blocking import OneThread, in_thread
from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError, RetrogradeError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.v1 import run_pb2
from services.trainer.controller import Controller
from services.trainer.kubernetes.api import ExpiredError, KubernetesApi, Object
from services.trainer.runs import ENDED
from services.trainer.waiting import either

FINALIZER = "retrograde.dev/cancel"
_GROUP = "/apis/retrograde.dev/v1alpha1"
_WATCH_SECONDS = 5  # the drain waits for a watch to end
_PAUSE_SECONDS = 2.0
_UNINSTALLED_SECONDS = 60.0
_log = get_logger(__name__)


@dataclass(slots=True)
class RunResources:
    """The Run resources of a namespace, carried out by `controller`."""

    api: KubernetesApi
    namespace: str
    controller: Controller
    _tasks: dict[tuple[str, bool], asyncio.Task[None]] = field(default_factory=dict)  # by uid and being deleted

    async def work(self, drain: asyncio.Event) -> None:
        """Carries them out until drain."""
        with OneThread("watch-runs") as thread:
            watching = asyncio.create_task(self._watch(thread, drain))
            await drain.wait()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(watching, *self._tasks.values(), return_exceptions=True)

    async def _watch(self, thread: OneThread, drain: asyncio.Event) -> None:
        """Until drain; its call under way is waited for, so that leaving the thread holds up nobody."""
        while not drain.is_set():
            try:
                listed = await thread.run(self.api.get, self._runs)
                self._take_up(listed["items"], drain)
                version = listed["metadata"]["resourceVersion"]
                while not drain.is_set():
                    version = await self._watch_from(thread, version, drain)
            except ExpiredError:
                _log.info("Run resources are listed again")
            except NotFoundError:
                _log.warning("the API server knows no Run resources; install the chart's CRD to use them")
                await either(drain, _UNINSTALLED_SECONDS)
            except RetrogradeError as error:
                _log.warning("Run resources are not watched", reason=str(error))
                await either(drain, _PAUSE_SECONDS)
            except Exception:  # noqa: BLE001  runs that were not applied go on, and this may pass
                _log.exception("fault of the watch of Run resources")
                await either(drain, _PAUSE_SECONDS)

    async def _watch_from(self, thread: OneThread, version: str, drain: asyncio.Event) -> str:
        """Takes up what changes until the server ends the watch; returns the version up to which all was seen."""
        events = self.api.watch(self._runs, version, _WATCH_SECONDS)
        while (event := await thread.run(next, events, None)) is not None:
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "DELETED":
                self._take_up([event["object"]], drain)
        return version

    def _take_up(self, resources: Sequence[Object], drain: asyncio.Event) -> None:
        """Each gets a task, and another when it is being deleted; what else changes is our own doing."""
        for resource in resources:
            uid, is_deleted = resource["metadata"]["uid"], "deletionTimestamp" in resource["metadata"]
            if (uid, is_deleted) in self._tasks:
                continue
            task = asyncio.create_task(self._carry_out(resource, drain))
            self._tasks[uid, is_deleted] = task

    async def _carry_out(self, resource: Object, drain: asyncio.Event) -> None:
        """Until its run has ended, or it is gone; waits for a store or an API server that is away."""
        name = resource["metadata"]["name"]
        while not drain.is_set():
            try:
                if "deletionTimestamp" in resource["metadata"]:
                    await self._cancel(resource)
                else:
                    await self._run(resource, drain)
            except UnavailableError as error:
                _log.warning("a Run resource waits", name=name, reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
            except RetrogradeError as error:  # it was deleted meanwhile
                _log.warning("a Run resource is left alone", name=name, reason=str(error))
                return
            except Exception:  # noqa: BLE001  the others' runs go on
                _log.exception("fault of a Run resource", name=name)
                return
            else:
                return

    async def _run(self, resource: Object, drain: asyncio.Event) -> None:
        """Creates the run, unless that was done before: one that failed or was cancelled since stays so."""
        name = resource["metadata"]["name"]
        if "recipeHash" not in resource.get("status", {}):
            await self._hold(resource)
            try:
                created = await self.controller.create(name, resource["spec"]["recipe"], by=self._by(name))
            except (InvalidInputError, ConflictError) as error:
                await self._tell(name, {"state": "Refused", "message": str(error)})
                await self._let_go(resource)
                return
            resource.setdefault("status", {})["recipeHash"] = created.recipe_hash  # whatever fails now
        record = await self.controller.record(name)
        if record.run.state not in ENDED:  # it may have gone on since the resource was let go
            await self._hold(resource)
        told = resource.get("status", {})
        async for run in record.watch(drain):
            status = status_of(run)
            if _given(status) != told:
                await self._tell(name, status)
                told = _given(status)
        await self._let_go(resource)

    async def _cancel(self, resource: Object) -> None:
        """Ends the run of this name and recipe; another recipe's goes on."""
        name = resource["metadata"]["name"]
        beginning = self._tasks.get((resource["metadata"]["uid"], False))
        if beginning is not None:
            beginning.cancel()
            await asyncio.wait({beginning})
        with contextlib.suppress(NotFoundError):
            record = await self.controller.record(name)
            if record.run.recipe_hash == _recipe_hash(resource):
                await self.controller.cancel(name, by=self._by(name))
        await self._let_go(resource)

    async def _hold(self, resource: Object) -> None:
        """It stays, deleted or not, until it is let go. Raises NotFoundError when it is gone."""
        await self._change_finalizers(resource, lambda others: [*others, FINALIZER])

    async def _let_go(self, resource: Object) -> None:
        with contextlib.suppress(NotFoundError):
            await self._change_finalizers(resource, lambda others: others)

    async def _change_finalizers(self, resource: Object, change: Callable[[list[str]], list[str]]) -> None:
        """Of the finalizers that there are now: others take theirs away while a run ends, and must not find them again.

        Raises NotFoundError.
        """
        while True:
            now = (await self._as_it_is(resource))["metadata"]
            finalizers = change([each for each in now.get("finalizers", ()) if each != FINALIZER])
            if finalizers == now.get("finalizers", []):
                return
            path = f"{self._runs}/{now['name']}"
            changed = {"metadata": {"finalizers": finalizers, "resourceVersion": now["resourceVersion"]}}
            with contextlib.suppress(ConflictError):  # it changed meanwhile
                await in_thread(self.api.patch, path, changed)
                return

    async def _as_it_is(self, resource: Object) -> Object:
        """Listed, for which there is a right. Raises NotFoundError when it is gone, or another has its name."""
        name, uid = resource["metadata"]["name"], resource["metadata"]["uid"]
        listed = await in_thread(self.api.get, self._runs, fieldSelector=f"metadata.name={name}")
        for each in listed["items"]:
            if each["metadata"]["uid"] == uid:
                return dict(each)
        raise NotFoundError(f"Run resource {name}: somebody took it away")

    async def _tell(self, name: str, status: Object) -> None:
        await in_thread(self.api.patch, f"{self._runs}/{name}/status", {"status": status})

    def _by(self, name: str) -> str:
        return f"Run resource {self.namespace}/{name}"

    @property
    def _runs(self) -> str:
        return f"{_GROUP}/namespaces/{self.namespace}/runs"


def status_of(run: run_pb2.Run) -> Object:
    """The status of a run's resource; null takes a field away (RFC 7386)."""
    at_work = next((stage for stage in run.stages if stage.state == run_pb2.RUN_STATE_RUNNING), None)
    num_done = sum(stage.state == run_pb2.RUN_STATE_SUCCEEDED for stage in run.stages)
    status: Object = {
        "state": run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").capitalize(),
        "recipeHash": run.recipe_hash,
        "stages": f"{num_done}/{len(run.plan)}",
        "stage": None,
        "progress": None,
        "message": run.error or None,
    }
    if at_work is not None:
        status["stage"] = at_work.name
        status["progress"] = f"{at_work.done}/{at_work.total} {at_work.unit}" if at_work.total else None
        status["message"] = at_work.detail or None
    return status


def _given(status: Object) -> Object:
    return {key: value for key, value in status.items() if value is not None}


def _recipe_hash(resource: Object) -> str:
    """Of the run that is its own, "" where there is none: the same recipe may be written in other words."""
    told = resource.get("status", {}).get("recipeHash")
    if told:
        return str(told)
    try:
        return parse_recipe(resource["spec"]["recipe"]).hash
    except RecipeError:
        return ""
