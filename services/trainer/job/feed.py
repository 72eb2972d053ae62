"""Where GRPO's groups come from: the rollouts service in production, a script in tests.

The job is synchronous, the client is not: `GrpcFeed` runs the client's event loop in a thread of its own, so that one
thread of the job may wait for groups while another publishes and acknowledges.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.errors import OverloadedError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.tls import Identity
from retrograde.wire.clients import RolloutsClient
from services.trainer.job.settings import GrpoJobSettings

T = TypeVar("T")
log = get_logger(__name__)
_PAUSE_SECONDS = 1.0


class RolloutSource(Protocol):
    """One feed of graded groups, as the trainer sees it. One thread pulls, another may call the rest meanwhile."""

    def open(self) -> None:
        """Creates the feed or finds it again; what an earlier life of this trainer had leased is handed back."""

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """Waits for `num_groups` leased groups sampled under that policy or a newer one; fewer when the feed ends."""

    def ack(self, lease_ids: Sequence[str]) -> None:
        """These groups are used for good. Leases that are gone are fine."""

    def publish(self, checkpoint_key: str) -> int:
        """From now on samples come from this checkpoint; returns its policy version."""

    def interrupt(self) -> None:
        """Ends a pull in progress, which raises; no later one succeeds."""


class GrpcFeed:
    """RolloutSource over gRPC. A context manager."""

    def __init__(self, settings: GrpoJobSettings) -> None:
        self._settings = settings
        self._feed = settings.feed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="feed", daemon=True)
        self._pulls: set[Future[list[RolloutGroup]]] = set()
        self._leases: set[str] = set()  # that came and are not acknowledged
        self._interrupted = False

    def __enter__(self) -> Self:
        self._thread.start()
        self._client = self._run(self._connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.interrupt()
        self._run(self._client.__aexit__(kind, error, trace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> None:
        """See RolloutSource."""
        self._leases.clear()
        self._run(self._open())

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """See RolloutSource."""
        pulling = asyncio.run_coroutine_threadsafe(self._pull(num_groups, min_policy_version), self._loop)
        self._pulls.add(pulling)
        if self._interrupted:
            pulling.cancel()
        try:
            return pulling.result()
        finally:
            self._pulls.discard(pulling)

    def ack(self, lease_ids: Sequence[str]) -> None:
        """See RolloutSource."""
        if lease_ids:
            self._run(self._ack(lease_ids))

    def publish(self, checkpoint_key: str) -> int:
        """See RolloutSource."""
        version, gap_seconds = self._run(self._client.publish_policy(self._feed, checkpoint_key))
        log.info("policy published", checkpoint_key=checkpoint_key, policy_version=version, gap_seconds=gap_seconds)
        return version

    def interrupt(self) -> None:
        """See RolloutSource."""
        self._interrupted = True
        for pulling in list(self._pulls):
            pulling.cancel()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    async def _connect(self) -> RolloutsClient:
        settings = self._settings
        identity = Identity.of(settings.tls) if settings.tls else None
        client = RolloutsClient(settings.rollouts, identity=identity, deadline_seconds=settings.rl.publish_seconds)
        return await client.__aenter__()

    async def _open(self) -> None:
        """Joins the feed; what came goes on, and whatever else this trainer had leased is free."""
        rl = self._settings.rl
        sampling = {"group_size": rl.group_size, "temperature": rl.temperature, "max_tokens": rl.max_tokens}
        described = json.dumps({**sampling, "seed": self._settings.seed, "lease_seconds": rl.lease_seconds})
        prompts_key, leases = self._settings.prompts_key, sorted(self._leases)
        await self._client.open_feed(self._feed, prompts_key, described, lease_ids=leases)

    async def _ack(self, lease_ids: Sequence[str]) -> None:
        """Those that are gone are fine."""
        if gone := await self._client.ack_held(self._feed, lease_ids):
            log.warning("leases gone", lease_ids=gone)
        self._leases.difference_update(lease_ids)

    async def _pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """Pulls until all are here or the feed ends; a stream that breaks is taken up where it stopped."""
        groups: dict[str, RolloutGroup] = {}
        clock, patience = asyncio.get_running_loop().time, self._settings.patience_seconds
        progressed, broke_off = clock(), False
        while len(groups) < num_groups:
            before = len(groups)
            try:
                if broke_off:  # something may have been leased that never came
                    async with asyncio.timeout(patience):
                        await self._open()
                async for group in self._client.pull(self._feed, num_groups - before, min_policy_version):
                    groups[group.id] = group
                    self._leases.add(group.lease_id)
                    progressed = clock()
            except (UnavailableError, OverloadedError, TimeoutError) as error:
                if clock() - progressed > patience:
                    raise UnavailableError(f"rollouts: no group came for {patience:g} s: {error}") from error
                log.warning("pull broke off", reason=str(error), num_groups=len(groups))
                broke_off = True
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                if len(groups) == before:
                    break
        return list(groups.values())
