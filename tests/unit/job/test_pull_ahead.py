"""Which groups are asked for when, and what becomes of them when a job ends early."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest
from toy_groups import ScriptedSource, group

from retrograde.core.rollout import RolloutGroup
from retrograde.core.settings import RlSettings
from services.trainer.job.ahead import PullAhead
from services.trainer.job.groups import Ledger


def settings(max_policy_lag: int, num_steps: int = 5) -> RlSettings:
    """One group a step."""
    return RlSettings(max_policy_lag=max_policy_lag, num_steps=num_steps, prompts_per_step=1)


def asked_versions(max_policy_lag: int, first_step: int = 0) -> list[int]:
    """The oldest policy each step's groups may be of, over a run of five steps whose policies are 10, 11, ..."""
    source = ScriptedSource(*([group(f"g{i}")] for i in range(5)))
    with PullAhead(Ledger(source), settings(max_policy_lag), first_step) as ahead:
        for step in range(first_step, 5):
            ahead.published(step, 10 + step)
            ahead.take()
        ahead.published(5, 15)
    return [version for _, version in source.asked]


@pytest.mark.parametrize(
    ("max_policy_lag", "expected"),
    [(0, [10, 11, 12, 13, 14]), (1, [10, 10, 11, 12, 13]), (3, [10, 10, 10, 10, 11])],
)
def test_a_steps_groups_are_of_a_policy_within_the_lag(max_policy_lag: int, expected: list[int]) -> None:
    """Step s asks for policy s - lag or newer, and nothing is asked for beyond the last step."""
    assert asked_versions(max_policy_lag) == expected


def test_a_resumed_job_asks_from_its_step_on() -> None:
    """Resumed at step 3 of 5 with a lag of 1: two pulls, both of the policy it published first."""
    assert asked_versions(1, first_step=3) == [13, 13]


class WaitingSource(ScriptedSource):
    """Gives each group only when permitted, or raises when interrupted."""

    def __init__(self, *answers: list[RolloutGroup]) -> None:
        super().__init__(*answers)
        self.begun = threading.Semaphore(0)
        self.permitted = threading.Semaphore(0)
        self.interrupted = False

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """Waits."""
        self.begun.release()
        assert self.permitted.acquire(timeout=60)
        if self.interrupted:
            raise CancelledError
        return super().pull(num_groups, min_policy_version)

    def interrupt(self) -> None:
        """Ends the wait."""
        self.interrupted = True
        self.permitted.release()


def test_the_next_steps_groups_are_pulled_while_this_one_trains_and_saves() -> None:
    """With a lag of 1 the second pull is under way when the first step's save acknowledges its groups alone."""
    source = WaitingSource([group("g0")], [group("g1")])
    ledger = Ledger(source)
    with PullAhead(ledger, settings(1, num_steps=2), 0) as ahead:
        ahead.published(0, 10)
        source.permitted.release()
        first = ahead.take()
        assert [source.begun.acquire(timeout=60) for _ in range(2)] == [True, True]
        position = ledger.position()
        ledger.covered()
        acknowledged = list(source.acknowledged)
        source.permitted.release()
        second = ahead.take()

    assert [each.groups[0].id for each in (first, second)] == ["g0", "g1"]
    assert (position["pending"], acknowledged) == ({"g0": "g0/a"}, ["g0/a"])
    assert ledger.position() == {"pending": {"g1": "g1/a"}, "used": ["g0"]}


def test_leaving_ends_the_pull_in_progress() -> None:
    """A job that fails does not wait for samples that nobody will use, and acknowledges none."""
    source = WaitingSource([group("g0")])

    def fail() -> None:
        with PullAhead(Ledger(source), settings(2), 0) as ahead:
            ahead.published(0, 10)
            assert source.begun.acquire(timeout=60)
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert source.interrupted
    assert source.acknowledged == []


def test_a_pull_that_fails_fails_the_step_that_needs_it() -> None:
    """What the source raised is raised where the groups are taken."""
    with PullAhead(Ledger(ScriptedSource()), settings(0), 0) as ahead:
        ahead.published(0, 10)

        with pytest.raises(IndexError):
            ahead.take()
