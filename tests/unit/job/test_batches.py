"""Which examples go together, and that how they are cut does not change the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.trainer.job import losses
from services.trainer.job.batches import Example, collate, deal, micro_batches, step_indices

CPU = torch.device("cpu")


def example(length: int, seed: int, vocabulary: int = 11) -> Example:
    """Random tokens, about half of them trained on."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, vocabulary, length).astype(np.int32)
    weights = rng.integers(0, 2, length).astype(np.float32)
    return Example(tokens, weights, -rng.random(length).astype(np.float32))


def test_an_epoch_uses_every_example_once() -> None:
    """The steps of an epoch partition the examples, the last step taking the rest."""
    steps = [step_indices(10, 4, seed=3, step=step) for step in range(3)]

    assert [len(step) for step in steps] == [4, 4, 2]
    assert sorted(index for step in steps for index in step) == list(range(10))


def test_epochs_differ_and_seeds_differ_but_nothing_else() -> None:
    """The order is a function of seed and epoch."""
    first = step_indices(100, 100, seed=1, step=0)

    assert step_indices(100, 100, seed=1, step=0) == first
    assert step_indices(100, 100, seed=1, step=1) != first
    assert step_indices(100, 100, seed=2, step=0) != first


def test_micro_batches_hold_the_limit_and_every_index() -> None:
    """Padded size stays within the limit, save for a single example longer than it."""
    lengths = [50, 3, 7, 7, 8, 120, 1, 30]

    groups = micro_batches(lengths, range(8), max_tokens=100)

    assert sorted(index for group in groups for index in group) == list(range(8))
    assert [group for group in groups if 5 in group] == [[5]]
    assert all(len(group) * max(lengths[i] for i in group) <= 100 for group in groups if 5 not in group)


def test_micro_batches_are_cut_where_padding_would_be_wasted() -> None:
    """Two long and four short examples that would fit together go apart; alike ones stay together."""
    assert micro_batches([100, 100, 5, 5, 5, 5], range(6), max_tokens=1024) == [[0, 1], [2, 3, 4, 5]]
    assert micro_batches([100, 99, 98], range(3), max_tokens=1024) == [[0, 1, 2]]


def test_ranks_share_the_groups_and_take_equally_many_turns() -> None:
    """Three groups on two ranks: two turns each, one of them empty."""
    groups = [[0], [1], [2]]

    assert [deal(groups, rank, 2) for rank in range(2)] == [[[0], [2]], [[1], []]]


def test_collate_pads_on_the_right_and_shifts_to_predictions() -> None:
    """Column t of weights and sampled speaks of token t + 1, and padding weighs nothing."""
    rows = [
        Example(
            np.array([5, 6, 7], np.int32),
            np.array([1, 0, 1], np.float32),
            np.array([0, -1, -2], np.float32),
            np.array([0, -3, -4], np.float32),
            advantage=0.5,
            share=0.25,
        ),
        Example(np.array([8, 9], np.int32), np.array([0, 1], np.float32)),
    ]

    batch = collate(rows, CPU)

    assert batch.tokens.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.weights.tolist() == [[0, 1], [1, 0]]
    assert batch.sampled.tolist() == [[-1, -2], [0, 0]]
    assert batch.old.tolist() == [[-3, -4], [0, 0]]
    assert batch.advantages.tolist() == [0.5, 0.0]
    assert batch.shares.tolist() == [0.25, 0.0]


def test_the_first_token_is_never_counted_as_trained() -> None:
    """Nothing predicts it, so a weight on it does not enter the mean."""
    assert Example(np.array([1, 2, 3], np.int32), np.array([1, 1, 0], np.float32)).num_trained == 1.0


def test_an_empty_turn_counts_for_nothing() -> None:
    """A rank without a group still runs the model, on weights of zero."""
    batch = collate([], CPU)

    assert batch.tokens.shape == (1, 2)
    assert batch.weights.sum() == 0


def gradient(model: torch.nn.Module, examples: list[Example], groups: list[list[int]]) -> torch.Tensor:
    """Of the step's token-mean loss, accumulated over `groups`."""
    model.zero_grad()
    total = sum(each.num_trained for each in examples)
    for group in groups:
        batch = collate([examples[i] for i in group], CPU)
        loss = -(losses.token_logprobs(model(batch.tokens), batch.tokens) * batch.weights).sum() / total
        torch.autograd.backward(loss)
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("max_tokens", [1, 40, 64, 10_000])
def test_any_cut_into_micro_batches_gives_the_gradient_of_the_whole_step(max_tokens: int) -> None:
    """In float64, from one example at a time to all at once, the accumulated gradient is the same."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(11, 8), torch.nn.Linear(8, 11)).double()
    examples = [example(length, seed) for seed, length in enumerate([3, 9, 17, 4, 12, 30])]
    lengths = [len(each.tokens) for each in examples]

    whole = gradient(model, examples, [list(range(6))])
    parts = gradient(model, examples, micro_batches(lengths, range(6), max_tokens))

    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-9)
