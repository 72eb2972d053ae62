"""A feed at work: pulls stand in line, groups are sampled for them and a little ahead, leased, delivered, acknowledged.

    pull   -> stands in line -> tickets are taken and sampled -> ready -> claimed in turn -> leased -> delivered
    ack    -> done for good
    lease lapsed, consumer's new session, stream broken -> the ticket is free; its group is delivered as it was
    publish -> what is ready and now too old is set aside

At most `num_ahead` groups and what the line asks for are sampled or ready, and never more are sampled than there are
slots: a consumer that does not read stands in no line. A group is serialised once, when it is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from retrograde.runtime.errors import FencedError, UnavailableError
from retrograde.runtime.logs import get_logger
from services.rollouts.delivery import Delivery, batches
from services.rollouts.journal import Event, Journal, lease_event
from services.rollouts.kept import Kept
from services.rollouts.making import Maker
from services.rollouts.metrics import GROUPS, observe
from services.rollouts.pulls import Pull, share
from services.rollouts.settings import FeedSettings
from services.rollouts.tickets import Ticket, Tickets

log = get_logger(__name__)
_GROUPS_PER_LEASE = 128
_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Feed:
    """One named feed. Everything but the store's calls happens on one event loop."""

    name: str
    settings: FeedSettings
    journal: Journal
    maker: Maker
    kept: Kept
    drain: asyncio.Event
    clock: Callable[[], float] = time.time
    ready: dict[Ticket, Delivery] = field(default_factory=dict)
    line: list[Pull] = field(default_factory=list)
    sampling: set[Ticket] = field(default_factory=set)
    _open: defaultdict[str, set[Pull]] = field(default_factory=lambda: defaultdict(set))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _sessions: Counter[str] = field(default_factory=Counter)
    _may_run_ahead: bool = False

    @property
    def tickets(self) -> Tickets:
        """Who holds what."""
        return self.journal.tickets

    async def begin_session(self, consumer: str, lease_ids: Sequence[str] = ()) -> None:
        """What an earlier session of `consumer` holds is free, but for these leases; its open streams end."""
        self._sessions[consumer] += 1
        await self._record(lambda: [{"event": "session", "consumer": consumer, "leases": list(lease_ids)}])

    async def pull(self, pull: Pull) -> AsyncGenerator[list[Delivery]]:
        """Groups as they become ready, leased before they are yielded; fewer than wanted when the feed ends.

        Where more is ready than one lease covers, the next lease is stored while the groups of this one are sent.
        """
        pull.session = self._sessions[pull.consumer]
        self._open[pull.consumer].add(pull)
        leasing: asyncio.Task[list[Delivery]] | None = None
        try:
            while leasing or pull.num_groups:
                leasing = leasing or self._begin_lease(pull, await self._claim(pull))
                if leasing is None:
                    return
                groups, leasing = await leasing, None
                pull.num_groups -= len(groups)
                if len(groups) == _GROUPS_PER_LEASE:
                    self._set_stale_aside(pull.min_policy_version)
                    leasing = self._begin_lease(pull, self._its_share(pull))
                for batch in batches(groups, pull.max_message_bytes):
                    self._check_session(pull)
                    now = self.clock()
                    held = [group for group in batch if self.tickets.is_held_as(group.lease_id, now)]
                    pull.leased.difference_update(group.lease_id for group in batch)
                    pull.num_groups += len(batch) - len(held)  # others lapsed before this reader took them
                    if held:
                        yield held
        finally:
            if leasing:
                await asyncio.gather(leasing, return_exceptions=True)
            self._open[pull.consumer].discard(pull)
            await self._hand_back(pull)

    async def acknowledge(self, lease_ids: Sequence[str], consumer: str = "") -> int:
        """Marks the groups used; returns how many the feed has acknowledged in all. Raises NotFoundError."""
        done: set[Ticket] = set()

        def event() -> list[Event]:
            found = (self.tickets.leased_as(lease_id, consumer) for lease_id in lease_ids)
            done.update(ticket for ticket in found if ticket)
            return [{"event": "ack", "tickets": sorted(ticket.id for ticket in done)}] if done else []

        await self._record(event)
        GROUPS.labels(outcome="acknowledged").inc(len(done))
        self._forget(done)
        return self.tickets.num_acknowledged

    async def published(self, policy_version: int) -> None:
        """Samples come from `policy_version` from now on; what is ready and too old by that is set aside."""

        def event() -> list[Event]:
            is_new = policy_version not in self.tickets.versions
            return [{"event": "policy", "version": policy_version}] if is_new else []

        self.maker.newest_version = max(self.maker.newest_version, policy_version)
        await self._record(event)
        self._set_stale_aside(0)
        self._refill()

    async def close(self) -> None:
        """Breaks off what is being sampled; until the next pull nothing else is begun."""
        self._may_run_ahead = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self, pull: Pull) -> list[Delivery]:
        """Stands in line until groups are this pull's, with lease ids; none when the feed has ended."""
        self._may_run_ahead = True
        self.line.append(pull)
        try:
            while True:
                changed = self._changed
                self._refill()
                if self._check(pull):
                    continue
                groups = self._its_share(pull)
                if groups or self.tickets.ended:
                    return groups
                await self._until(changed)
        finally:
            self.line.remove(pull)
            self._notify()

    def _check(self, pull: Pull) -> int:
        """Raises what concerns this pull; returns how many groups are ready no longer."""
        self._check_session(pull)
        if pull.error:
            raise pull.error
        if self.drain.is_set():
            raise UnavailableError(f"feed: {self.name!r} begins nothing more, this process is draining; pull again")
        wanted = pull.min_policy_version
        below = [ticket for ticket, group in self.ready.items() if group.policy_version < wanted]
        if below and self.maker.newest_version < wanted:
            if not self.sampling:  # one is sampled again, to tell what is served by now; others want the rest
                observe(self.ready.pop(below[0]).lengths, "stale")
                self.sampling.add(below[0])
                self._spawn(self._fill(below[0]))
            served = self.maker.newest_version
            raise UnavailableError(f"policy {served} is served; {wanted} was asked for; publish it first")
        return self._set_stale_aside(wanted)

    def _check_session(self, pull: Pull) -> None:
        if pull.session != self._sessions[pull.consumer]:
            raise FencedError(f"consumer: a newer session of {pull.consumer!r} has opened feed {self.name!r}; end here")

    def _its_share(self, pull: Pull) -> list[Delivery]:
        """What is ready for this pull."""
        count = min(share(pull, self.line, len(self.ready), self._room), _GROUPS_PER_LEASE)
        return [self.ready.pop(ticket) for ticket in list(self.ready)[:count]]

    def _room(self, pull: Pull) -> int:
        """What is about to be leased to its consumer, by any of its streams, counts as held."""
        claimed = (group for each in self._open[pull.consumer] for group in each.claimed.values())
        num_claimed = sum(not self.tickets.is_done(group.ticket) for group in claimed)
        return pull.room(self.tickets.num_held(pull.consumer) + num_claimed)

    def _begin_lease(self, pull: Pull, groups: Sequence[Delivery]) -> asyncio.Task[list[Delivery]] | None:
        """Notes what is claimed, and leases it; None when nothing is."""
        pull.claimed |= {group.lease_id: group for group in groups}
        return asyncio.create_task(self._lease(pull, groups)) if groups else None

    async def _lease(self, pull: Pull, groups: Sequence[Delivery]) -> list[Delivery]:
        """Makes the leases durable; leaves out what was acknowledged, or has become stale, since it was claimed."""
        leased: list[Delivery] = []
        stale: list[Delivery] = []

        def event() -> list[Event]:
            self._check_session(pull)
            for group in groups:
                if not self.tickets.is_done(group.ticket):
                    (stale if self._is_stale(group) else leased).append(group)
            leases = {group.lease_id: group.id for group in leased}
            return [lease_event(pull.consumer, self.clock() + self.settings.lease_seconds, leases)] if leases else []

        try:
            await self._record(event)
        finally:
            for group in leased:
                if self.tickets.is_leased_as(group.lease_id):
                    pull.leased.add(group.lease_id)
                    del pull.claimed[group.lease_id]
                    self.kept.put(self.name, group)
        for group in stale:
            del pull.claimed[group.lease_id]
            self._set_aside(group)
        for group in leased:
            observe(group.lengths, "delivered")
        return leased

    async def _hand_back(self, pull: Pull) -> None:
        """Claimed and not delivered: free, to be delivered as they are.

        What was leased is given back by its lease alone: once that has ended, the group may be another pull's.
        """
        for group in pull.claimed.values():
            if not self.tickets.is_done(group.ticket):
                self.kept.put(self.name, group)
                self.tickets.give_back(group.ticket)
        if pull.claimed or pull.leased:
            await self._record(lambda: self._returned(pull.leased))

    def _returned(self, lease_ids: Iterable[str]) -> list[Event]:
        held = [lease_id for lease_id in lease_ids if self.tickets.is_leased_as(lease_id)]
        return [{"event": "return", "leases": held}] if held else []

    def _refill(self) -> None:
        """Starts sampling what the line asks for, and `num_ahead` more."""
        if not self._may_run_ahead or self.drain.is_set():
            return
        wanted = self.settings.num_ahead + sum(map(self._room, self.line)) - len(self.ready) - len(self.sampling)
        places = self.maker.most_at_once - len(self.sampling)
        for ticket in self.tickets.take(max(0, min(wanted, places)), self.clock()):
            if group := self.kept.pop(self.name, ticket):
                self.ready[ticket] = group.again()
            else:
                self.sampling.add(ticket)
                self._spawn(self._fill(ticket))

    async def _fill(self, ticket: Ticket) -> None:
        """From a ticket to a ready group, or to a dropped one; when it fails the ticket is free again."""
        try:
            group = await self.maker.group(ticket)
            if group and not self.tickets.is_done(ticket):
                self.ready[ticket] = group
        except Exception as error:  # noqa: BLE001 - whoever pulls is told
            self._fail(error)
        finally:
            self.sampling.discard(ticket)
            if ticket not in self.ready:
                self.tickets.give_back(ticket)
            self._refill()
            self._notify()

    def _set_stale_aside(self, min_policy_version: int) -> int:
        """Takes out what is ready and too old, by the feed's lag or a pull's version; returns how many."""
        aside = [group for group in self.ready.values() if self._is_stale(group, min_policy_version)]
        for group in aside:
            del self.ready[group.ticket]
            self._set_aside(group)
        return len(aside)

    def _set_aside(self, group: Delivery) -> None:
        observe(group.lengths, "stale")
        if self.settings.stale == "drop" and self._is_stale(group):
            self._spawn(self._drop_stale(group.ticket))
        else:
            self.tickets.give_back(group.ticket)

    def _is_stale(self, group: Delivery, min_policy_version: int = 0) -> bool:
        most = None if self.settings.stale == "deliver" else self.settings.max_policy_lag
        is_late = most is not None and self.tickets.lag(group.policy_version) > most
        return is_late or group.policy_version < min_policy_version

    async def _drop_stale(self, ticket: Ticket) -> None:
        """The prompt counts as used; where that could not be stored it is free again."""
        try:
            await self.journal.drop(ticket, "stale")
        except Exception as error:  # noqa: BLE001 - whoever pulls is told
            self._fail(error)
        finally:
            self.tickets.give_back(ticket)
            self._notify()

    async def _record(self, events: Callable[[], list[Event]]) -> None:
        try:
            await self.journal.record(events)
        finally:
            self._notify()

    def _forget(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            self.kept.pop(self.name, ticket)
            self.ready.pop(ticket, None)

    def _fail(self, error: Exception) -> None:
        """Tells everybody in line; nothing is sampled ahead until the next pull."""
        log.warning("group not made", feed=self.name, reason=str(error), waiting=len(self.line))
        self._may_run_ahead = False
        for pull in self.line:
            pull.error = error

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until(self, changed: asyncio.Event) -> None:
        """Something has changed, a lease may have lapsed, or it is time to look at `drain`."""
        timeout = min(_LOOK_SECONDS, max(0.0, self.tickets.next_lapse() - self.clock()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):  # wait_for may swallow a cancellation
                await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
