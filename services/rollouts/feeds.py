"""All feeds of the service, opened on demand: a restarted service finds a feed by its stored description."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from retrograde.core.policy import Policy, Verifier
from retrograde.core.problem import Problem
from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import TaskError, load_task
from services.rollouts.feed import Feed
from services.rollouts.journal import Journal
from services.rollouts.kept import Kept
from services.rollouts.ledger import Ledger
from services.rollouts.making import Maker
from services.rollouts.sampling import Sampler
from services.rollouts.settings import FeedSettings
from services.rollouts.slots import Slots
from services.rollouts.tickets import Tickets


@dataclass(slots=True)
class Feeds:
    """An async context manager: what is being sampled is broken off when it is left; nothing is begun after `drain`."""

    store: ObjectStore
    policy: Policy
    verifier: Verifier
    slots: Slots
    kept: Kept
    drain: asyncio.Event
    open_feeds: dict[str, Feed] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for feed in self.open_feeds.values():
            await feed.close()

    async def open(
        self, name: str, prompts_key: str, settings: FeedSettings, consumer: str = "", lease_ids: Sequence[str] = ()
    ) -> Feed:
        """A new session of `consumer`, which goes on with these leases, on feed `name`.

        Raises ConflictError when it exists with another description.
        """
        async with self.lock:
            await asyncio.to_thread(self._describe, name, prompts_key, settings)
        feed = await self.get(name)
        await feed.begin_session(consumer, lease_ids)
        return feed

    async def get(self, name: str) -> Feed:
        """The feed called `name`. Raises NotFoundError when it was never opened."""
        async with self.lock:
            if name not in self.open_feeds:
                self.open_feeds[name] = await asyncio.to_thread(self._load, name)
            return self.open_feeds[name]

    def _describe(self, name: str, prompts_key: str, settings: FeedSettings) -> None:
        """What was described before a setting was added is described with its default; what cannot be read is not."""
        key = f"{name}/feed.json"
        if not self.store.exists(key):
            problems = read_problems(self.store, prompts_key)
            _check_tasks(problems, prompts_key)
            description = {"prompts_key": prompts_key, "settings": settings.model_dump(mode="json")}
            self.store.put(key, json.dumps(description).encode())
        elif self._described(name) != (prompts_key, settings):
            raise ConflictError(f"feed: {name!r} exists with other prompts or settings; open it under another name")

    def _described(self, name: str) -> tuple[str, FeedSettings]:
        description = json.loads(self.store.get(f"{name}/feed.json"))
        return description["prompts_key"], FeedSettings.model_validate(description["settings"])

    def _load(self, name: str) -> Feed:
        try:
            prompts_key, settings = self._described(name)
        except NotFoundError as error:
            raise NotFoundError(f"feed: {name!r} is unknown; open it with OpenFeed first") from error
        problems = read_problems(self.store, prompts_key)
        ledger = Ledger(self.store, name, Tickets(len(problems), settings.num_epochs))
        ledger.replay()
        ledger.begin_life()
        journal, sampler = Journal(ledger), Sampler(name, settings, self.policy, self.verifier, self.slots)
        maker = Maker(problems, settings, journal, sampler)
        return Feed(name, settings, journal, maker, self.kept, self.drain)


def _check_tasks(problems: Sequence[Problem], key: str) -> None:
    """Raises InvalidInputError where one names a task that there is not."""
    try:
        for task in {problem.task for problem in problems}:
            load_task(task)
    except TaskError as error:
        raise InvalidInputError(f"prompts_key: {key!r}: {error}") from error


def read_problems(store: ObjectStore, key: str) -> list[Problem]:
    """The JSON lines of Problem under `key`. Raises InvalidInputError when there is none, or anything else."""
    data = store.get(key)
    try:
        lines = data.decode().split("\n")  # JSON may hold other characters that splitlines() splits at
        problems = [Problem(**json.loads(line)) for line in lines if line]
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"prompts_key: {key!r} holds a line that is no problem: {error}") from error
    if not problems:
        raise InvalidInputError(f"prompts_key: {key!r} holds no problem; a feed needs at least one")
    return problems
