"""A feed of the rollouts service for trainers that are not asynchronous: open, pull, acknowledge, publish.

The client's event loop has a thread of its own, so that any thread may call, also one that runs an event loop.
A group is given to the trainer once, however often the service delivers it: a lease that ran out while its group was
trained on comes back as another delivery of the same group, which is kept for the acknowledgement and not given again.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.errors import OverloadedError, UnavailableError
from retrograde.wire.clients import Feed, RolloutsClient

T = TypeVar("T")
_PAUSE_SECONDS = 1.0


class Rollouts:
    """The feed called `feed` of the service at `address`, as `consumer` sees it. A context manager.

    `consumer` is a name that a trainer keeps over its restarts: what an earlier life of it had leased is handed back
    when it opens the feed. A call waits `patience_seconds` for a service that is away or full, and then raises
    UnavailableError or OverloadedError.
    """

    def __init__(self, address: str, feed: str, *, consumer: str = "", patience_seconds: float = 300.0) -> None:
        self.feed = feed
        self.consumer = consumer
        self._address = address
        self._patience = patience_seconds
        self._leases: dict[str, str] = {}  # group -> its latest lease, until acknowledged
        self._used: set[str] = set()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"rollouts {self.feed}", daemon=True)
        self._thread.start()
        self._client = self._run(self._connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._client.__aexit__(kind, error, trace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self, prompts_key: str, **settings: object) -> Feed:
        """Creates the feed over the problems under `prompts_key`, or joins it; `settings` are those of a feed."""
        described = json.dumps(settings)
        return self._run(self._client.open_feed(self.feed, prompts_key, described, consumer=self.consumer))

    def pull(self, num_groups: int, min_policy_version: int = 0) -> list[RolloutGroup]:
        """Waits for `num_groups` groups that were not given before; fewer when the feed ends."""
        return self.pull_soon(num_groups, min_policy_version).result()

    def pull_soon(self, num_groups: int, min_policy_version: int = 0) -> Future[list[RolloutGroup]]:
        """As `pull`, without waiting: `await asyncio.wrap_future(...)` waits in another event loop."""
        return asyncio.run_coroutine_threadsafe(self._pull(num_groups, min_policy_version), self._loop)

    def ack(self, groups: Iterable[RolloutGroup]) -> None:
        """These groups are used for good. Acknowledging one twice is fine."""
        self._run(self._ack([group.id for group in groups]))

    def publish(self, checkpoint_key: str) -> int:
        """From now on samples come from this checkpoint of the store; returns its policy version."""
        return self._run(self._client.publish_policy(self.feed, checkpoint_key))[0]

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    async def _connect(self) -> RolloutsClient:
        return RolloutsClient(self._address, patience_seconds=self._patience)

    async def _ack(self, group_ids: list[str]) -> None:
        leases = {group_id: self._leases[group_id] for group_id in group_ids if group_id in self._leases}
        if leases:
            await self._client.ack_held(self.feed, list(leases.values()), consumer=self.consumer)
        self._used |= leases.keys()
        for group_id in leases:
            del self._leases[group_id]

    async def _pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """New groups; a stream that breaks off is taken up where it stopped."""
        groups: list[RolloutGroup] = []
        clock = asyncio.get_running_loop().time
        progressed = clock()
        has_ended = False
        while len(groups) < num_groups and not has_ended:
            has_ended = True
            left = num_groups - len(groups)
            try:
                async for group in self._client.pull(self.feed, left, min_policy_version, consumer=self.consumer):
                    has_ended, progressed = False, clock()
                    groups += [group] if await self._is_new(group) else []
            except (UnavailableError, OverloadedError):
                if clock() - progressed > self._patience:
                    raise
                has_ended = False
                await asyncio.sleep(_PAUSE_SECONDS)
        return groups

    async def _is_new(self, group: RolloutGroup) -> bool:
        """Whether the trainer has not had it; if it has, this delivery's lease is the one that counts."""
        if group.id in self._used:
            await self._client.ack_held(self.feed, [group.lease_id], consumer=self.consumer)
            return False
        is_known = group.id in self._leases
        self._leases[group.id] = group.lease_id
        return not is_known
