"""Bugs planted into the real code, to show that the checker sees them. Each is a context manager: inside, it is there.

The last two were real: the simulation found them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from retrograde.core.problem import Problem
from retrograde.core.tree import SearchTree
from retrograde.runtime import worker as loop
from retrograde.runtime.attempts import Attempts, Outcome
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import Message
from retrograde.runtime.ledger import Ledger
from retrograde.runtime.member import Member, Turn
from retrograde.wire.convert import problem_from_proto
from retrograde.wire.records import Record
from services.search import driver, worker
from services.search.tree_log import TreeLog
from services.search.worker import SearchWorker

MOST_SCHEDULES = 400
"""Each is caught within so many."""

Patch = contextlib.AbstractContextManager[object]


def commit_before_store() -> Patch:
    """A message counts as handled once its handler has begun."""
    settle = Attempts.settle

    async def settled_at_once(self: Attempts, message: Message) -> Outcome:
        asyncio.get_running_loop().create_task(settle(self, message))
        return Outcome.HANDLED

    return mock.patch.object(Attempts, "settle", settled_at_once)


def publish_before_store() -> Patch:
    """Nobody waits for the tree's put."""
    keep = SearchWorker._keep

    async def keep_some_time(self: SearchWorker, tree_key: str, tree: SearchTree, log: TreeLog) -> str:
        asyncio.get_running_loop().create_task(keep(self, tree_key, tree, log))
        return "solved"

    return mock.patch.object(SearchWorker, "_keep", keep_some_time)


def publish_not_awaited() -> Patch:
    """Nobody waits for the broker's answer."""

    async def publish_some_time(call: Callable[..., Any], *args: Any) -> Any:
        if call.__name__ == "publish":
            return asyncio.get_running_loop().create_task(in_thread(call, *args))
        return await in_thread(call, *args)

    return mock.patch.object(worker, "in_thread", publish_some_time)


def key_not_derived() -> Patch:
    """Each delivery of a problem has a name of its own."""

    def named_anew(message: Any) -> Problem:
        problem = problem_from_proto(message)
        return dataclasses.replace(problem, id=f"{problem.id}-{secrets.token_hex(2)}")

    return mock.patch.object(worker, "problem_from_proto", named_anew)


def commit_past_a_gap() -> Patch:
    """Of each partition the last message that is done, whatever is open before it."""

    def last_done(self: Ledger) -> list[Message]:
        return [done[max(done)] for done in self._done.values() if done]

    return mock.patch.object(Ledger, "committable", last_done)


def revoke_ignored() -> Patch:
    """The handlers of a partition that went to another member go on."""
    return mock.patch.object(loop._Loop, "_let_go")


def no_fencing() -> Patch:
    """Whoever takes a tree over begins no newer epoch, and nobody looks whether another has."""
    read = TreeLog._read

    def in_the_same_epoch(self: TreeLog) -> list[Record]:
        records = read(self)
        self._name = self._name._replace(epoch=1)
        return records

    async def looks_away(self: TreeLog) -> None:
        pass

    return mock.patch.multiple(TreeLog, _read=in_the_same_epoch, check=looks_away)


def reply_used_before_it_is_logged() -> Patch:
    """Nobody waits for the log."""

    async def logged_some_time(log: TreeLog, records: list[Record]) -> list[Record]:
        asyncio.get_running_loop().create_task(log.append(records))
        return records

    return mock.patch.object(driver, "_logged", logged_some_time)


def seed_not_of_the_index() -> Patch:
    """A call's seed comes from how many were asked before, by anybody."""
    seed_of, asked = driver.call_seed, itertools.count()
    return mock.patch.object(driver, "call_seed", lambda seed, problem_id, _: seed_of(seed, problem_id, next(asked)))


def tree_stored_unseen() -> Patch:
    """A redelivered problem is searched again although its tree is stored, and another worker's tree is overwritten."""
    return mock.patch.object(SearchWorker, "_exists", mock.AsyncMock(return_value=False))


def segment_name_used_again() -> Patch:
    """A segment whose put failed is put again under its name: what was lost on the way may arrive last."""
    return mock.patch.object(
        TreeLog, "_put_once", lambda self: self._store.put(f"{self._prefix}{self._name}", self._data)
    )


def polled_and_dropped() -> Patch:
    """A turn that fails after its poll forgets what was polled."""

    def turn(self: Member, done: Sequence[Message], timeout_seconds: float, room: int) -> Turn:
        consumer = self._membership()
        committed = self._commit(done)
        messages = consumer.poll(timeout_seconds, room)
        return Turn(committed, messages, frozenset(consumer.assignment()))

    return mock.patch.object(Member, "_turn", turn)


BUGS: dict[str, Callable[[], Patch]] = {
    bug.__name__: bug
    for bug in (
        commit_before_store,
        publish_before_store,
        publish_not_awaited,
        key_not_derived,
        commit_past_a_gap,
        revoke_ignored,
        no_fencing,
        reply_used_before_it_is_logged,
        seed_not_of_the_index,
        tree_stored_unseen,
        segment_name_used_again,
        polled_and_dropped,
    )
}
