"""What happened to a run: `runs/<run>/history/<number>-<life>.pb`, one object per event, written once and kept.

`take_in` is the only place where the state of a run changes, so its events in their order give its state again. How
far a stage at work is (`done`, `detail`, its seconds) changes between events and is in the last one of its stage.

What a trainer tells after another has taken over is kept, and void: it is no part of the history.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2


@dataclass(frozen=True, slots=True)
class History:
    """One run's events. `life` is the trainer's name (fence.py): nobody ever overwrites what another has told."""

    store: ObjectStore
    run_id: str
    life: str = field(default_factory=lambda: secrets.token_hex(4))

    def append(self, event: run_pb2.RunEvent) -> None:
        """Keeps a numbered event."""
        self.store.put(f"{self._prefix}{event.number:06d}-{self.life}.pb", event.SerializeToString())

    def read(self, after: int = 0) -> list[run_pb2.RunEvent]:
        """The events with numbers above `after`, in order."""
        names = [name for name in self._names() if name.number > after]
        return [run_pb2.RunEvent.FromString(self.store.get(f"{self._prefix}{name.text}")) for name in names]

    def is_overtaken(self, run: run_pb2.Run) -> bool:
        """Whether a trainer wrote this state when a later one had told what the state should have taken in."""
        return any(name.trainer > run.trainer for name in self._names() if name.number <= run.num_events)

    def _names(self) -> Iterator[_Name]:
        """In order, without the void: those of a trainer, when a later one has told this number or one before."""
        names = sorted(_Name.parse(key.removeprefix(self._prefix)) for key in self.store.list(self._prefix))
        newest = ""
        for _, same in itertools.groupby(names, key=lambda name: name.number):
            told = list(same)
            newest = max(newest, told[-1].trainer)
            yield from (name for name in told if name.trainer == newest)

    @property
    def _prefix(self) -> str:
        return f"runs/{self.run_id}/history/"


class _Name(NamedTuple):
    """Of an event's object; `trainer` is empty for one that had no name yet."""

    number: int
    trainer: str
    text: str

    @classmethod
    def parse(cls, text: str) -> _Name:
        life = text.removesuffix(".pb").partition("-")[2]
        return cls(number_of(text), life if "-" in life else "", text)


def number_of(name: str) -> int:
    """Of the event whose object in the folder has that name."""
    return int(name.removesuffix(".pb").partition("-")[0])


def rebuilt(run_id: str, events: Iterable[run_pb2.RunEvent]) -> run_pb2.Run:
    """The state of a run by its events alone."""
    run = run_pb2.Run(id=run_id)
    for event in events:
        take_in(run, event)
    return run


def take_in(run: run_pb2.Run, event: run_pb2.RunEvent) -> None:
    """Changes the state as the event says."""
    run.num_events = event.number
    happened = event.WhichOneof("happened")
    if happened == "created":
        _create(run, event)
    elif happened == "continued":
        run.state, run.error = run_pb2.RUN_STATE_RUNNING, ""
    elif happened == "ended":
        run.state, run.error = event.ended.state, event.ended.error
        for stage in event.ended.stages:
            stage_of(run, stage.name).CopyFrom(stage)
    elif happened == "stage_began":
        _begin(stage_of(run, event.stage_began.name), event)
    elif happened == "stage_finished":
        stage_of(run, event.stage_finished.stage.name).CopyFrom(event.stage_finished.stage)


def stage_of(run: run_pb2.Run, name: str) -> run_pb2.Stage:
    """The run's stage of that name, added if it is new."""
    for stage in run.stages:
        if stage.name == name:
            return stage
    return run.stages.add(name=name)


def _create(run: run_pb2.Run, event: run_pb2.RunEvent) -> None:
    run.state = run_pb2.RUN_STATE_RUNNING
    run.recipe_hash, run.recipe_yaml = event.created.recipe_hash, event.created.recipe_yaml
    run.plan[:] = event.created.plan
    run.created_at.CopyFrom(event.at)


def _begin(stage: run_pb2.Stage, event: run_pb2.RunEvent) -> None:
    stage.state, stage.unit = run_pb2.RUN_STATE_RUNNING, event.stage_began.unit
    if not stage.HasField("started_at"):
        stage.started_at.CopyFrom(event.at)
