"""What pulled groups are like, and which of them this job has already used."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Sequence
from typing import Any

from retrograde.core.rollout import RolloutGroup
from services.trainer.job.feed import RolloutSource


def describe(groups: Sequence[RolloutGroup], policy_version: int) -> dict[str, float]:
    """What the samples were like; all groups count, also those that teach nothing. Names are TRL's where it has one.

    `policy_version` is the newest: the lag is how many versions before it the oldest token of a group was sampled.
    """
    lags = [policy_version - group.policy_version for group in groups]
    samples = [sample for group in groups for sample in group.samples]
    lengths = [len(sample.token_ids) for sample in samples]
    deviations = [statistics.pstdev([sample.reward for sample in group.samples]) for group in groups]
    return {
        "reward": statistics.fmean(sample.reward for sample in samples),
        "reward_std": statistics.fmean(deviations),
        "frac_reward_zero_std": statistics.fmean(deviation == 0 for deviation in deviations),
        "completions/mean_length": statistics.fmean(lengths),
        "completions/min_length": min(lengths),
        "completions/max_length": max(lengths),
        "completions/clipped_ratio": statistics.fmean(sample.finish_reason == "length" for sample in samples),
        "backtracks": statistics.fmean(sample.backtracks for sample in samples),
        "num_groups": len(groups),
        "prompt_tokens": sum(len(group.prompt_token_ids) for group in groups),
        "generated_tokens": sum(lengths),
        "verifier_calls": len(samples),
        "policy_version": policy_version - max(lags),
        "policy_lag/mean": statistics.fmean(lags),
        "policy_lag/max": max(lags),
    }


class Ledger:
    """Which groups are used, so that each is used once whatever is killed when. Its calls may come from two threads.

    A pulled group is `held` until it is trained on, then `pending` until a save covers its step, then acknowledged and
    `used`. A service that hands a group out again (its lease ran out, or the acknowledgement was lost) is told so, and
    asked for another. Held ones are in no save: the feed hands them to the next life.
    """

    def __init__(self, source: RolloutSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        self._pending: dict[str, str] = {}
        self._used: set[str] = set()

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """New groups, waited for, in the order of their ids, whichever came first; fewer when the feed ends."""
        fresh: list[RolloutGroup] = []
        while len(fresh) < num_groups:
            groups = self._source.pull(num_groups - len(fresh), min_policy_version)
            if not groups:
                break
            known, new = self._admit(groups)
            self._source.ack(known)
            fresh += new
        return sorted(fresh, key=lambda group: group.id)

    def interrupt(self) -> None:
        """Ends a pull in progress, which raises; no later one succeeds."""
        self._source.interrupt()

    def trained(self, groups: Sequence[RolloutGroup]) -> None:
        """The next save covers these."""
        with self._lock:
            self._pending |= {group.id: self._held.pop(group.id) for group in groups}

    def position(self) -> dict[str, Any]:
        """For a save that covers everything trained on so far, in JSON."""
        with self._lock:
            return {"pending": dict(self._pending), "used": sorted(self._used)}

    def covered(self) -> None:
        """The save is durable: acknowledges what it covers."""
        with self._lock:
            covered, self._pending = self._pending, {}
            self._used |= covered.keys()
        self._source.ack(list(covered.values()))

    def restore(self, position: dict[str, Any]) -> None:
        """Takes up a save, whose acknowledgement may or may not have arrived: it is sent again."""
        self._pending = dict(position.get("pending", {}))
        self._used = set(position.get("used", []))
        self.covered()

    def _admit(self, groups: Sequence[RolloutGroup]) -> tuple[list[str], list[RolloutGroup]]:
        """(leases of used groups, groups never seen before); a group in work keeps its newest lease."""
        used: list[str] = []
        new: list[RolloutGroup] = []
        with self._lock:
            for group in groups:
                if group.id in self._used:
                    used.append(group.lease_id)
                elif group.id in self._pending:
                    self._pending[group.id] = group.lease_id
                else:
                    if group.id not in self._held:
                        new.append(group)
                    self._held[group.id] = group.lease_id
        return used, new
