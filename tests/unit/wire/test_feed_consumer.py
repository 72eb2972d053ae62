"""One consumer of a feed, over streams that break, against a scripted client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self, cast

import numpy as np
import pytest

from retrograde.core.problem import Problem
from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.errors import NoAnswerError, UnavailableError
from retrograde.wire import feed_consumer
from retrograde.wire.clients import Feed, RolloutsClient
from retrograde.wire.feed_consumer import FeedConsumer


class ScriptedClient:
    """Each stream brings the next line of `script`: names of groups, "!" a break, "?" a refusal, "..." half a second.

    Opening waits for `may_open`.
    """

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.opened: list[list[str]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def open_feed(self, *_: str, consumer: str, lease_ids: Sequence[str]) -> Feed:
        self.opened.append(list(lease_ids))
        await self.may_open.wait()
        return Feed(num_prompts=9, num_acknowledged=0, policy_version=0)

    async def pull(self, *_: object, **__: object) -> AsyncIterator[RolloutGroup]:
        for name in self.script.pop(0).split():
            if name == "!":
                raise NoAnswerError("restarting")
            if name == "?":
                raise UnavailableError("policy 3 is served; 4 was asked for")
            if name == "...":
                await asyncio.sleep(0.5)
                continue
            problem = Problem(name, "countdown", "", "")
            yield RolloutGroup(name, f"{name}/1", problem, np.zeros(1, np.int32), (), policy_version=0, epoch=0)


def consumer_of(client: ScriptedClient, **settings: Any) -> FeedConsumer:
    return FeedConsumer(cast("RolloutsClient", client), "f", consumer="me", **settings)


async def until_opening(client: ScriptedClient, times: int) -> None:
    async with asyncio.timeout(60):
        while len(client.opened) < times:
            await asyncio.sleep(0.01)


async def test_what_is_handed_back_during_an_opening_is_freed_before_the_next_stream() -> None:
    """The opening under way named its lease: the feed is opened once more, without it."""
    client = ScriptedClient("a", "!", "b")
    async with consumer_of(client) as consumer:
        await consumer.open("prompts.jsonl")
        assert [group.id for group in await consumer.pull(1)] == ["a"]
        client.may_open.clear()
        pulling = asyncio.create_task(consumer.pull(1))
        await until_opening(client, 2)
        consumer.hand_back(["a/1"])
        client.may_open.set()
        assert [group.id for group in await pulling] == ["b"]
    assert client.opened == [[], ["a/1"], []]


async def test_a_refused_stream_ends_alone() -> None:
    """The other brings its groups to the end, the refused pull asks for the rest, and the feed is not opened again."""
    client = ScriptedClient("a ... b", "c ?", "d")
    async with asyncio.timeout(60), consumer_of(client) as consumer:
        await consumer.open("prompts.jsonl")
        pulled = await asyncio.gather(consumer.pull(2), consumer.pull(2))
    assert [[group.id for group in groups] for groups in pulled] == [["a", "b"], ["c", "d"]]
    assert client.opened == [[]]


async def test_pulls_side_by_side_each_give_up_after_their_patience() -> None:
    """None waits for the others' patience to end first."""
    client = ScriptedClient("!", "!", "!")
    async with asyncio.timeout(60), consumer_of(client, patience_seconds=0.2) as consumer:
        await consumer.open("prompts.jsonl")
        client.may_open.clear()
        pulls = [consumer.pull(1) for _ in range(3)]
        ended = await asyncio.gather(*pulls, return_exceptions=True)
    assert [type(error) for error in ended] == [UnavailableError] * 3


async def test_patience_begins_anew_where_a_stream_has_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two restarts during one long pull are no absence of the service."""
    monkeypatch.setattr(feed_consumer, "_CONNECTED_SECONDS", 0.4)
    client = ScriptedClient("!", "... !", "a")
    async with consumer_of(client, patience_seconds=0.3) as consumer:
        assert [group.id for group in await consumer.pull(1)] == ["a"]
