"""What a bench is: two arms, measured in turn, and a goal for the ratio of the first to the second.

A family of benches is a module with `BENCHES`, named in `benchmarks/__main__.py`. The arms of a bench are opened
together, so that what both need (a service, a data set) is started once and closed after the last repetition.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

Arm = Callable[[], float]
"""Does some work once and returns its figure in the bench's unit: work per second, or seconds."""


class Direction(enum.Enum):
    """Which side of the goal is good."""

    UP = "up"  # the ratio should be at least the goal
    DOWN = "down"  # at most


def _no_note() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Arms:
    """`prepare(repetition)` runs before each pair, unmeasured; `note()` is asked after the last one."""

    ours: Arm
    against: Arm
    prepare: Callable[[int], None] = lambda _: None
    note: Callable[[], str] = _no_note


@dataclass(frozen=True, slots=True)
class Bench:
    """A comparison; `goal` and `direction` are about the ratio ours / against."""

    name: str
    unit: str
    goal: float
    direction: Direction
    open_arms: Callable[[], AbstractContextManager[Arms]]
    num_repetitions: int = 5
