"""Which faults a schedule has: drawn from its seed, some kinds often, others not at all.

Faults are of two kinds: those that happen at a moment of the schedule (`plan`), and those that meet a call of a port
with some probability. After `num_rough_steps` turns the weather is calm for good.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field


class Blow(enum.Enum):
    """What happens at a moment."""

    KILL = "kill"
    STALL = "stall"
    EXPIRE = "expire"  # the broker thinks a member of a group is gone
    NO_STORE = "no store"
    NO_BROKER = "no broker"


class Fate(enum.Enum):
    """What becomes of a call that changes something."""

    DONE = "done"
    LOST = "lost"  # not done, and an error
    UNANSWERED = "unanswered"  # done, and an error
    LATE = "late"  # an error, and done after a while
    TWICE = "twice"
    KILLED_BEFORE = "killed before"  # the caller is gone, and it was not done
    KILLED_AFTER = "killed after"  # the caller is gone, and it was done
    STALLED_BEFORE = "stalled before"  # the caller is stalled, and it is done when that is over
    STALLED_AFTER = "stalled after"


NUM_DONE = {Fate.LOST: 0, Fate.LATE: 0, Fate.KILLED_BEFORE: 0, Fate.TWICE: 2}
"""How often it is done at once; else once."""
KILLS = frozenset({Fate.KILLED_BEFORE, Fate.KILLED_AFTER})
FAILURES = frozenset({Fate.LOST, Fate.UNANSWERED, Fate.LATE})
RATES = (0.0, 0.0, 0.02, 0.1)
FATES = tuple(fate for fate in Fate if fate is not Fate.DONE)


@dataclass(frozen=True, slots=True)
class Weather:
    """The faults of one schedule."""

    num_rough_steps: int = 0
    plan: tuple[tuple[int, Blow], ...] = ()  # (turn, what), the latest first
    fates: dict[Fate, float] = field(default_factory=dict)  # probability of each
    lost_reads: float = 0.0
    delayed_polls: float = 0.0
    interleaved: float = 0.0  # chance that others take turns in the midst of a call made in a thread
    slowness: float = 1.0  # of networks

    @staticmethod
    def drawn(rng: random.Random, num_rough_steps: int) -> Weather:
        """A weather that is rough for so many turns."""
        blows = rng.choices(list(Blow), k=rng.randrange(6))
        plan = sorted(((rng.randrange(num_rough_steps), blow) for blow in blows), key=lambda each: -each[0])
        return Weather(
            num_rough_steps,
            tuple(plan),
            {fate: rate for fate in rng.sample(FATES, 3) if (rate := rng.choice(RATES))},
            rng.choice(RATES),
            rng.choice((0.0, 0.3)),
            rng.choice((0.0, 0.1)),
            rng.choice((1.0, 1.0, 8.0)),
        )

    def fate(self, rng: random.Random) -> Fate:
        """Of the next call that changes something."""
        if not self.fates:
            return Fate.DONE
        left = rng.random()
        for fate, rate in self.fates.items():
            left -= rate
            if left < 0:
                return fate
        return Fate.DONE


CALM = Weather()
