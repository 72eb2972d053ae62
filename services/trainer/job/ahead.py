"""Generation beside training: the groups of coming steps are pulled by a thread while the trainer works.

    policy s is published  ->  the groups of step s + max_policy_lag are asked for, sampled under policy s or newer
    step s begins          ->  its groups are taken, waited for if they are not here yet

A step's samples are therefore at most `max_policy_lag` published policies old, and with a lag of 0 generation and
training take turns: the code is the same. Groups asked for are held in order; what was pulled and not trained when the
job dies was never acknowledged, and the feed hands it out again.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from retrograde.core.rollout import RolloutGroup
from retrograde.core.settings import RlSettings
from services.trainer.job.groups import Ledger


@dataclass(frozen=True, slots=True)
class Pulled:
    """The groups of one step, fewer when the feed ends, and how long the pull took."""

    groups: list[RolloutGroup]
    seconds: float


class PullAhead:
    """Of the first rank. A context manager: leaving ends a pull in progress."""

    def __init__(self, ledger: Ledger, rl: RlSettings, first_step: int) -> None:
        self._ledger = ledger
        self._rl = rl
        self._next_step = first_step
        self._asked: deque[Future[Pulled]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pull-ahead")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for asked in self._asked:
            asked.cancel()
        self._ledger.interrupt()
        self._thread.shutdown(wait=True)

    def published(self, step: int, policy_version: int) -> None:
        """The weights after `step` steps are out: asks for the groups of every step that may learn from them."""
        last = min(step + self._rl.max_policy_lag, self._rl.num_steps - 1)
        while self._next_step <= last:
            self._asked.append(self._thread.submit(self._pull, policy_version))
            self._next_step += 1

    def take(self) -> Pulled:
        """The groups of the next step; from now on they count as trained on. Raises what the pull raised."""
        pulled = self._asked.popleft().result()
        self._ledger.trained(pulled.groups)
        return pulled

    def _pull(self, min_policy_version: int) -> Pulled:
        began = time.monotonic()
        groups = self._ledger.pull(self._rl.prompts_per_step, min_policy_version)
        return Pulled(groups, time.monotonic() - began)
