"""What GRPOTrainer is given for groups of a feed, and when they count as used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from interop_groups import PROMPT, ListedRollouts, a_group

from retrograde.interop.rollouts import Rollouts
from retrograde.interop.trl_grpo import GrpoSource, Weights, columns
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import InvalidInputError, NotFoundError


@dataclass
class ScriptedTrainer:
    """As much of GRPOTrainer as a rollout function looks at."""

    num_generations: int = 3
    model: Any = field(default_factory=lambda: SimpleNamespace(training=True))
    state: Any = field(default_factory=lambda: SimpleNamespace(global_step=0))
    accelerator: Any = field(
        default_factory=lambda: SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    )

    def save_model(self, folder: str) -> None:
        (Path(folder) / "weights").write_text(f"after step {self.state.global_step}")


def source_of(rollouts: ListedRollouts, weights: Weights | None = None) -> GrpoSource:
    return GrpoSource(cast("Rollouts", rollouts), weights)


def test_rows_are_the_samples_in_order() -> None:
    """Tokens, log-probabilities, mask and reward of each sample, the prompt repeated."""
    made = columns([a_group()], 3)
    assert made["prompt_ids"] == [PROMPT] * 3
    assert made["completion_ids"] == [[5, 6], [5], [4, 3, 2]]
    assert made["logprobs"] == [[-0.5, -0.75], [-0.5], [-0.5, -0.75, -1.0]]
    assert made["env_mask"] == [[1, 1], [1], [1, 0, 1]]
    assert made["reward"] == [1.0, -1.0, -1.0]
    assert made["problem_id"] == ["p1"] * 3


def test_a_group_that_lost_samples_is_filled_up() -> None:
    """The rows that fill it up are masked whole and have no reward, which leaves them out of the group's mean."""
    made = columns([a_group()], 5)
    assert made["env_mask"][3:] == [[0, 0], [0, 0]]
    assert made["reward"][3:] == [None, None]


def test_a_larger_group_is_refused() -> None:
    """A feed opened with another group size than num_generations cannot be laid out."""
    with pytest.raises(InvalidInputError, match="3 samples and the trainer takes 2"):
        columns([a_group()], 2)


def test_groups_are_acknowledged_when_the_next_are_asked_for() -> None:
    """By then the trainer has stepped on them; the last ones are when the block ends."""
    rollouts = ListedRollouts([a_group(name) for name in "abc"])
    with source_of(rollouts) as source:
        source.rollout([""] * 6, ScriptedTrainer())
        assert rollouts.acked == []
        source.rollout([""] * 3, ScriptedTrainer())
        assert rollouts.acked == ["a", "b"]
    assert rollouts.acked == ["a", "b", "c"]


def test_an_error_acknowledges_nothing() -> None:
    """Groups of a step that failed are handed out again."""
    rollouts = ListedRollouts([a_group()])
    source = source_of(rollouts)

    def fail() -> None:
        with source:
            source.rollout([""] * 3, ScriptedTrainer())
            raise OSError

    with pytest.raises(OSError, match=r"^$"):
        fail()
    assert rollouts.acked == []


def test_new_weights_are_published_before_the_next_groups(tmp_path: Path) -> None:
    """After a step the store has its weights under the step's number, and the feed samples from them."""
    store = open_store(f"file://{tmp_path}")
    rollouts = ListedRollouts([a_group("a"), a_group("b")])
    source, trainer = source_of(rollouts, Weights(store, "policies/x")), ScriptedTrainer()
    source.rollout([""] * 3, trainer)
    assert rollouts.published == []
    trainer.state.global_step = 1
    source.rollout([""] * 3, trainer)
    assert rollouts.published == ["policies/x/000001"]
    assert store.get("policies/x/000001/weights") == b"after step 1"


def test_the_last_two_weights_are_kept(tmp_path: Path) -> None:
    """The store does not grow with the steps: what no pool will load again is deleted."""
    store = open_store(f"file://{tmp_path}")
    source, trainer = (
        source_of(ListedRollouts([a_group(name) for name in "abcd"]), Weights(store, "x")),
        ScriptedTrainer(),
    )
    for step in range(4):
        trainer.state.global_step = step
        source.rollout([""] * 3, trainer)
    kept = {key.split("/")[1] for key in store.list("x/")}
    assert kept == {"000002", "000003"}


def test_cut_groups_are_refused() -> None:
    """A process whose batch is no multiple of num_generations would hold parts of groups."""
    with pytest.raises(InvalidInputError, match="4 samples a process are no whole groups"):
        source_of(ListedRollouts([])).rollout([""] * 4, ScriptedTrainer())


def test_evaluation_is_refused() -> None:
    """A feed's prompts are used once, for training."""
    trainer = ScriptedTrainer(model=SimpleNamespace(training=False))
    with pytest.raises(InvalidInputError, match="eval_dataset"):
        source_of(ListedRollouts([])).rollout([""] * 3, trainer)


def test_the_end_of_a_feed_is_an_error() -> None:
    """GRPOTrainer has no way to take fewer groups: the error names the feed and what to change."""
    with pytest.raises(NotFoundError, match="'listed' has ended; lower max_steps"):
        source_of(ListedRollouts([a_group()])).rollout([""] * 6, ScriptedTrainer())
