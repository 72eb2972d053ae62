"""One leader among several trainers, by a Lease that the leader renews; the others stand by.

    nobody holds it, or its holder has not renewed it for its duration  ->  it is ours if nobody else was quicker
    renewed every fifth of the duration; not once in two thirds of it   ->  lost: this process has to end at once

A holder's silence is measured by our own clock from when we saw its last sign, so that clocks need not agree. Where
that is asked for the leader's pod has the label `retrograde.dev/leader: "true"`, by which a Service chooses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from retrograde.runtime.blocking import OneThread
from retrograde.runtime.errors import ConflictError, NotFoundError, RetrogradeError, UnavailableError
from retrograde.runtime.logs import get_logger
from services.trainer.kubernetes.api import KubernetesApi, Object

LEADER = "retrograde.dev/leader"
_RENEWALS = 5
_log = get_logger(__name__)


@dataclass(slots=True)
class Election:
    """`identity` is this process's alone. `lost` is called when the lease is, and must end the process.

    `pod` is the name of the pod to label, "" for none.
    """

    api: KubernetesApi
    namespace: str
    lease: str
    identity: str
    seconds: float
    lost: Callable[[], None]
    pod: str = ""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    leads: bool = False
    _seen: tuple[str, str] = ("", "")
    _seen_at: float = 0.0
    _renewed_at: float = 0.0
    _thread: OneThread = field(default_factory=lambda: OneThread("lease"))  # no slow call of others holds it up

    @contextlib.asynccontextmanager
    async def won(self, drain: asyncio.Event) -> AsyncIterator[bool]:
        """Waits until this trainer leads, and hands the lease on at the end of the block; False: drained before."""
        with self._thread:
            await self._label(drain)
            while not await self._try():
                if drain.is_set():
                    yield False
                    return
                await self.sleep(self.seconds / _RENEWALS)
            renewing = asyncio.create_task(self._renew())
            try:
                await self._label(drain)
                _log.info("leads", lease=self.lease, identity=self.identity)
                yield True
            finally:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
                await self._hand_on()

    async def _renew(self) -> None:
        while True:
            await self.sleep(self.seconds / _RENEWALS)
            if await self._is_lost():
                _log.error("the lease is lost; this process ends", lease=self.lease, holder=self._seen[0])
                self.leads = False
                self.lost()
                return

    async def _is_lost(self) -> bool:
        """Whether another holds the lease, or it was not renewed in time: a call under way is not waited for longer."""
        try:
            async with asyncio.timeout(self._renewed_at + self.seconds * 2 / 3 - self.clock()):
                return not await self._try() and self._holder_is_other()
        except TimeoutError:
            return True

    async def _try(self) -> bool:
        """Takes or renews the lease if that can be; says whether it could."""
        began = self.clock()
        try:
            self.leads = await self._thread.run(self._take)
        except (RetrogradeError, ValueError) as error:  # somebody was quicker, the API server is away, or it is no such
            _log.warning("the lease could not be taken or renewed", lease=self.lease, reason=str(error))
            return False
        if self.leads:
            self._renewed_at = began
        return self.leads

    def _take(self) -> bool:
        try:
            found = self.api.get(self._path)
        except NotFoundError:
            self.api.create(self._leases, self._body({"metadata": {"name": self.lease}}, self.identity))
            return True
        spec = found.get("spec", {})
        sign = (spec.get("holderIdentity", ""), spec.get("renewTime", ""))
        if sign != self._seen:
            self._seen, self._seen_at = sign, self.clock()
        is_alive = self.clock() - self._seen_at <= spec.get("leaseDurationSeconds", self.seconds)
        if sign[0] not in {"", self.identity} and is_alive:
            return False
        self._seen = ("", "")
        self.api.replace(self._path, self._body(found, self.identity))
        return True

    async def _hand_on(self) -> None:
        """Others need not wait for the lease to run out."""
        self.leads = False
        with contextlib.suppress(ConflictError, NotFoundError, UnavailableError):
            found = await self._thread.run(self.api.get, self._path)
            if found["spec"].get("holderIdentity") == self.identity:
                await self._thread.run(self.api.replace, self._path, self._body(found, ""))

    async def _label(self, drain: asyncio.Event) -> None:
        """Tells the Service where the leader is, if it asks; until drain."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}"
        labels = {"metadata": {"labels": {LEADER: "true" if self.leads else "false"}}}
        is_told = not self.pod
        while not (is_told or drain.is_set()):
            try:
                await self._thread.run(self.api.patch, path, labels)
                is_told = True
            except NotFoundError:
                return
            except UnavailableError as error:
                _log.warning("the leader's label is not set yet", reason=str(error))
                await self.sleep(self.seconds / _RENEWALS)

    def _holder_is_other(self) -> bool:
        return self._seen[0] not in {"", self.identity}

    def _body(self, found: Object, holder: str) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": holder, "leaseDurationSeconds": max(1, round(self.seconds)), "renewTime": now}
        if found.get("spec", {}).get("holderIdentity") != holder:
            spec["acquireTime"] = now
        kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        return {**kind, "metadata": found["metadata"], "spec": {**found.get("spec", {}), **spec}}

    @property
    def _leases(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._leases}/{self.lease}"
