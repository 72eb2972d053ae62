"""A feed of the rollouts service for trainers that are not asynchronous: open, pull, acknowledge, publish.

Any thread may call, also one that runs an event loop. A group is given to the trainer once, however often the service
delivers it: a lease that ran out while its group was trained on comes back as another delivery of the same group, which
is kept for the acknowledgement and not given again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.errors import FencedError
from retrograde.runtime.tls import Identity
from retrograde.wire.clients import Feed, RolloutsClient
from retrograde.wire.feed_consumer import FeedConsumer
from retrograde.wire.feed_thread import FeedThread


class Rollouts:
    """The feed called `feed` of the service at `address`, as `consumer` sees it. A context manager.

    `consumer` is a name that a trainer keeps over its restarts: what an earlier life of it had leased is handed back
    when it opens the feed. `identity` is what the trainer shows, a certificate or a token; without it the connection
    is plaintext. A call waits `patience_seconds` for a service that is away or full, and then raises UnavailableError
    or OverloadedError. With `max_unacknowledged` nothing more comes while the trainer has so many groups in work.
    """

    def __init__(
        self,
        address: str,
        feed: str,
        *,
        consumer: str = "",
        identity: Identity | None = None,
        patience_seconds: float = 300.0,
        max_unacknowledged: int = 0,
    ) -> None:
        self.feed = feed
        self.consumer = consumer

        def connect() -> FeedConsumer:
            client = RolloutsClient(address, identity=identity, patience_seconds=patience_seconds)
            return FeedConsumer(
                client,
                feed,
                consumer=consumer,
                patience_seconds=patience_seconds,
                max_unacknowledged=max_unacknowledged,
            )

        self._thread = FeedThread(connect)
        self._leases: dict[str, str] = {}  # group -> its latest lease, until acknowledged
        self._used: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.__exit__(kind, error, trace)

    def open(self, prompts_key: str, **settings: object) -> Feed:
        """Creates the feed over the problems under `prompts_key`, or joins it; `settings` are those of a feed."""
        return self._thread.run(self._thread.consumer.open(prompts_key, json.dumps(settings)))

    def pull(self, num_groups: int, min_policy_version: int = 0) -> list[RolloutGroup]:
        """Waits for `num_groups` groups that were not given before; fewer when the feed ends."""
        pulled = self.pull_soon(num_groups, min_policy_version)
        try:
            return pulled.result()
        except KeyboardInterrupt:  # nobody takes what comes
            pulled.cancel()
            raise

    def pull_soon(self, num_groups: int, min_policy_version: int = 0) -> Future[list[RolloutGroup]]:
        """As `pull`, without waiting: `await asyncio.wrap_future(...)` waits in another event loop."""
        came: list[RolloutGroup] = []
        pulled = self._thread.soon(self._pull(came, num_groups, min_policy_version))
        pulled.add_done_callback(lambda ended: self._thread.call(self._hand_back, came) if ended.cancelled() else None)
        return pulled

    def ack(self, groups: Iterable[RolloutGroup]) -> None:
        """These groups are used for good. Acknowledging one twice is fine."""
        self._thread.run(self._ack([group.id for group in groups]))

    def publish(self, checkpoint_key: str) -> int:
        """From now on samples come from this checkpoint of the store; returns its policy version."""
        return self._thread.run(self._thread.consumer.publish(checkpoint_key))[0]

    async def _ack(self, group_ids: list[str]) -> None:
        leases = {group_id: self._leases[group_id] for group_id in group_ids if group_id in self._leases}
        if leases:
            await self._thread.consumer.ack(list(leases.values()))
        self._used |= leases.keys()
        for group_id in leases:
            self._leases.pop(group_id, None)

    async def _pull(self, new: list[RolloutGroup], num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """Fills `new` and returns it; where it fails, none is given and all of them come again."""
        try:
            while len(new) < num_groups:
                groups = await self._thread.consumer.pull(num_groups - len(new), min_policy_version)
                if not groups:
                    break
                new += [group for group in groups if self._is_new(group)]
                await self._ack_used(groups)
        except FencedError:
            raise
        except BaseException:
            self._hand_back(new)
            raise
        return new

    def _hand_back(self, groups: list[RolloutGroup]) -> None:
        """What nobody takes comes again."""
        self._thread.consumer.hand_back(self._leases.pop(group.id) for group in groups)
        groups.clear()

    def _is_new(self, group: RolloutGroup) -> bool:
        """Whether the trainer has not had it; if it has, this delivery's lease is the one that counts."""
        if group.id in self._used:
            return False
        is_known = group.id in self._leases
        self._leases[group.id] = group.lease_id
        return not is_known

    async def _ack_used(self, groups: Iterable[RolloutGroup]) -> None:
        """The service has not heard that these are used: it is told again."""
        if leases := [group.lease_id for group in groups if group.id in self._used]:
            await self._thread.consumer.ack(leases)
