"""One consumer of a feed, over connections that break: open, pull, acknowledge, publish.

    a stream breaks    -> the consumer's other streams end too -> the feed is opened again, once -> each pull asks for
                          what it still lacks
    one is refused     -> it alone asks again: what it was leased came, or is free

Opening names the leases of the groups that came and are not acknowledged; whatever else was leased never came, and is
free from then on. It ends the consumer's streams at the service, so they are ended here first: what such a stream still
brought would be nobody's.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.errors import (
    FencedError,
    InvalidInputError,
    NoAnswerError,
    OverloadedError,
    UnavailableError,
)
from retrograde.runtime.logs import get_logger
from retrograde.wire.clients import Feed, RolloutsClient

log = get_logger(__name__)
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_CONNECTED_SECONDS = 30.0  # gRPC tries to connect for 20: a stream that took longer to break had its service


class _SiblingBrokeError(UnavailableError):
    """A stream was ended because another one of its consumer broke."""


class FeedConsumer:
    """`consumer` of `feed`, through `client`, which it closes. An async context manager; pulls may run side by side.

    A pull waits `patience_seconds` for a service that is away or full. With `max_unacknowledged` the service sends
    nothing more while the consumer holds so many groups.
    """

    def __init__(
        self,
        client: RolloutsClient,
        feed: str,
        *,
        consumer: str = "",
        patience_seconds: float = 300.0,
        max_unacknowledged: int = 0,
    ) -> None:
        self._client = client
        self._feed = feed
        self._consumer = consumer
        self._patience = patience_seconds
        self._max_unacknowledged = max_unacknowledged
        self._opened_with: tuple[str, str] | None = None
        self._leases: dict[str, str] = {}  # group -> lease, of those that came and are not acknowledged
        self._streams: set[asyncio.Timeout] = set()
        self._has_none = asyncio.Event()
        self._has_none.set()
        self._joining = asyncio.Lock()
        self._is_broken = False

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def open(self, prompts_key: str, settings_json: str = "") -> Feed:
        """Creates the feed or joins it, before anything is pulled: all that this consumer had leased is handed back."""
        self._opened_with = prompts_key, settings_json
        self._leases.clear()
        async with self._joining:
            return await self._join(prompts_key, settings_json)

    async def pull(self, num_groups: int, min_policy_version: int = 0) -> list[RolloutGroup]:
        """Waits for leased groups; fewer when the feed ends. One that fails hands back what came.

        Raises:
            InvalidInputError: `max_unacknowledged` does not allow so many at once.
            FencedError: another process has opened the feed as this consumer.
            UnavailableError, OverloadedError: the service stayed away, or full, or refused for so long.
        """
        if 0 < self._max_unacknowledged < num_groups:
            raise InvalidInputError(
                f"num_groups: {num_groups} never come while max_unacknowledged is {self._max_unacknowledged}; raise it"
            )
        groups: dict[str, RolloutGroup] = {}
        try:
            await self._fill(groups, num_groups, min_policy_version)
        except FencedError:  # all that this one had is free, and to open the feed would fence the other in turn
            raise
        except BaseException:
            self.hand_back(group.lease_id for group in groups.values())
            raise
        return list(groups.values())

    async def ack(self, lease_ids: Sequence[str]) -> None:
        """Their groups are used for good. Leases that are gone are fine."""
        if gone := await self._client.ack_held(self._feed, lease_ids, consumer=self._consumer):
            log.warning("leases gone", feed=self._feed, lease_ids=gone)
        self._forget(lease_ids)

    def hand_back(self, lease_ids: Iterable[str]) -> None:
        """Nobody uses their groups: the next pull frees them."""
        if given := list(lease_ids):
            self._forget(given)
            self._break_off()

    async def publish(self, checkpoint_key: str) -> tuple[int, float]:
        """Samples come from this checkpoint from now on. Returns (policy version, seconds requests waited)."""
        return await self._client.publish_policy(self._feed, checkpoint_key)

    async def _fill(self, groups: dict[str, RolloutGroup], num_groups: int, min_policy_version: int) -> None:
        """Reads streams, one after the other as they break, until all are here or the feed ends."""
        clock = asyncio.get_running_loop().time
        pause = _FIRST_PAUSE_SECONDS
        give_up: float | None = None
        while (before := len(groups)) < num_groups:
            began = math.inf
            try:
                await self._mend()
                began = clock()
                await self._read(groups, num_groups - before, min_policy_version)
            except _SiblingBrokeError:
                pass
            except (UnavailableError, OverloadedError) as error:
                if give_up is None or len(groups) > before or clock() - began > _CONNECTED_SECONDS:
                    pause, give_up = _FIRST_PAUSE_SECONDS, clock() + self._patience
                if clock() > give_up:
                    raise type(error)(f"rollouts: no group came for {self._patience:g} s: {error}") from error
                log.warning("pull broke off", feed=self._feed, reason=str(error), num_groups=len(groups))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                if len(groups) == before:
                    return

    async def _read(self, groups: dict[str, RolloutGroup], num_groups: int, min_policy_version: int) -> None:
        """Adds what one stream brings, to its end."""
        pulled = self._client.pull(
            self._feed,
            num_groups,
            min_policy_version,
            consumer=self._consumer,
            max_unacknowledged=self._max_unacknowledged,
        )
        try:
            async with asyncio.timeout(None) as stream:
                self._begins(stream)
                try:
                    async for group in pulled:
                        self._leases[group.id] = group.lease_id
                        groups[group.id] = group
                except NoAnswerError:
                    self._ends(stream)
                    self._break_off()
                    raise
                finally:
                    self._ends(stream)
        except TimeoutError as error:  # by _break_off
            raise _SiblingBrokeError(f"another stream of consumer {self._consumer!r} broke off") from error

    def _begins(self, stream: asyncio.Timeout) -> None:
        self._streams.add(stream)
        self._has_none.clear()

    def _ends(self, stream: asyncio.Timeout) -> None:
        self._streams.discard(stream)
        if not self._streams:
            self._has_none.set()

    def _break_off(self) -> None:
        """Ends the streams; none begins before the feed is opened again."""
        if not self._is_broken:
            self._is_broken = True
            for stream in self._streams:
                stream.reschedule(0)

    async def _mend(self) -> None:
        """Opens the feed again where something broke off, if it was opened here; waits for others that do."""
        try:
            async with asyncio.timeout(self._patience), self._joining:
                while self._is_broken:
                    await self._has_none.wait()
                    await self._join_again()
        except TimeoutError as error:
            raise UnavailableError(f"rollouts: the feed was not opened again for {self._patience:g} s") from error

    async def _join_again(self) -> None:
        self._is_broken = False  # what is handed back from here on needs another opening
        try:
            if self._opened_with:
                await self._join(*self._opened_with)
        except BaseException:
            self._is_broken = True
            raise

    async def _join(self, prompts_key: str, settings_json: str) -> Feed:
        leases = sorted(self._leases.values())
        return await self._client.open_feed(
            self._feed, prompts_key, settings_json, consumer=self._consumer, lease_ids=leases
        )

    def _forget(self, lease_ids: Iterable[str]) -> None:
        gone = set(lease_ids)
        self._leases = {group: lease for group, lease in self._leases.items() if lease not in gone}
