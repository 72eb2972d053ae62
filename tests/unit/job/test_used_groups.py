"""What groups are like, and that each is used once."""

from __future__ import annotations

import json

from toy_groups import ScriptedSource, group, sample

from retrograde.core.rollout import RolloutGroup
from services.trainer.job.groups import Ledger, describe


def pull_and_train(ledger: Ledger, num_groups: int) -> list[RolloutGroup]:
    """What a step does with its groups, as far as the ledger sees it."""
    groups = ledger.pull(num_groups, 4)
    ledger.trained(groups)
    return groups


def test_description_counts_all_groups() -> None:
    """One group of +1 and -1, one of two -1: the equal one counts too."""
    mixed = group("g", sample(1.0, 3, backtracks=2), sample(-1.0, 1))
    equal = group("h", sample(-1.0, 2, finish_reason="length"), sample(-1.0, 2))

    assert describe([mixed, equal], 6) == {
        "reward": -0.5,
        "reward_std": 0.5,
        "frac_reward_zero_std": 0.5,
        "completions/mean_length": 2.0,
        "completions/min_length": 1,
        "completions/max_length": 3,
        "completions/clipped_ratio": 0.25,
        "backtracks": 0.5,
        "num_groups": 2,
        "prompt_tokens": 6,
        "generated_tokens": 8,
        "verifier_calls": 4,
        "policy_version": 4,
        "policy_lag/mean": 2.0,
        "policy_lag/max": 2,
    }


def test_groups_are_acknowledged_only_once_a_save_covers_them() -> None:
    """Pulling acknowledges nothing; the save does."""
    source = ScriptedSource([group("g1"), group("g2")])
    ledger = Ledger(source)

    pull_and_train(ledger, 2)
    before = list(source.acknowledged)
    ledger.covered()

    assert before == []
    assert source.acknowledged == ["g1/a", "g2/a"]


def test_a_group_handed_out_again_before_its_save_is_not_used_twice() -> None:
    """Its lease ran out: another group is asked for, and the new lease is the one acknowledged."""
    source = ScriptedSource([group("g1")], [group("g1", lease="g1/b")], [group("g2")])
    ledger = Ledger(source)

    first, second = pull_and_train(ledger, 1), pull_and_train(ledger, 1)
    ledger.covered()

    assert [each.id for each in [*first, *second]] == ["g1", "g2"]
    assert source.acknowledged == ["g1/b", "g2/a"]


def test_a_group_handed_out_again_after_its_save_is_acknowledged_at_once() -> None:
    """The acknowledgement was lost: it is sent again, and another group asked for."""
    source = ScriptedSource([group("g1")], [group("g1", lease="g1/b"), group("g2")], [group("g3")])
    ledger = Ledger(source)
    pull_and_train(ledger, 1)
    ledger.covered()

    fresh = pull_and_train(ledger, 2)

    assert [each.id for each in fresh] == ["g2", "g3"]
    assert source.asked == [(1, 4), (2, 4), (1, 4)]
    assert source.acknowledged == ["g1/a", "g1/b"]


def test_a_restored_ledger_acknowledges_what_the_save_covers_and_uses_nothing_of_it_again() -> None:
    """Killed between the save and its acknowledgement, the next life sends it, and asks for another group."""
    killed = Ledger(ScriptedSource([group("g1")]))
    pull_and_train(killed, 1)
    position = json.loads(json.dumps(killed.position()))
    source = ScriptedSource([group("g1", lease="g1/b")], [group("g2")])

    ledger = Ledger(source)
    ledger.restore(position)
    fresh = pull_and_train(ledger, 1)

    assert [each.id for each in fresh] == ["g2"]
    assert source.acknowledged == ["g1/a", "g1/b"]


def test_a_feed_that_ends_gives_fewer_groups() -> None:
    """An empty answer ends the wait."""
    ledger = Ledger(ScriptedSource([group("g1")], []))

    assert [each.id for each in ledger.pull(3, 4)] == ["g1"]


def test_what_was_pulled_ahead_is_in_no_save() -> None:
    """Of two groups pulled one is trained on: the save covers it alone, and the next life gets the other."""
    killed = Ledger(ScriptedSource([group("g1")], [group("g2")]))
    pull_and_train(killed, 1)
    killed.pull(1, 4)
    position = json.loads(json.dumps(killed.position()))
    source = ScriptedSource([group("g2", lease="g2/b")])

    ledger = Ledger(source)
    ledger.restore(position)

    assert [each.id for each in pull_and_train(ledger, 1)] == ["g2"]
    assert source.acknowledged == ["g1/a"]


def test_a_group_pulled_ahead_and_handed_out_again_is_held_once_under_its_newest_lease() -> None:
    """Its lease ran out while it waited for its step: it is not pulled twice, and the new lease is acknowledged."""
    source = ScriptedSource([group("g1")], [group("g1", lease="g1/b")], [group("g2")])
    ledger = Ledger(source)

    first, second = ledger.pull(1, 4), ledger.pull(1, 4)
    ledger.trained([*first, *second])
    ledger.covered()

    assert [each.id for each in [*first, *second]] == ["g1", "g2"]
    assert source.acknowledged == ["g1/b", "g2/a"]
