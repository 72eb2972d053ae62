"""Packed or not, a step is the same: which examples share a row, and that none of them notices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.trainer.job import losses
from services.trainer.job.batches import Example
from services.trainer.job.packing import Layout, Rows, best_fit, collate_rows, lay_out, padding_share

CPU = torch.device("cpu")
LENGTHS = [9, 2, 5, 7, 3, 4, 1, 8]


def examples() -> list[Example]:
    """Of LENGTHS, random tokens, about three of four with loss."""
    rng = np.random.default_rng(3)
    return [
        Example(rng.integers(0, 17, length).astype(np.int32), (rng.random(length) < 0.75).astype(np.float32))
        for length in LENGTHS
    ]


def test_best_fit_fills_rows_from_the_longest_on() -> None:
    """By hand: 9 | 8 | 7 2 | 5 4 | 3 1, each into the row with the least room that takes it."""
    rows = best_fit(LENGTHS, range(8), capacity=9)

    assert rows == [[0], [7, 6], [3, 1], [2, 5], [4]]
    assert all(sum(LENGTHS[i] for i in row) <= 9 for row in rows)


def test_packing_takes_fewer_passes() -> None:
    """Eight lengths go apart one to a row, for little padding; packed, 39 of 45 places of a single pass are filled."""
    packed = lay_out(LENGTHS, range(8), 45, "best_fit", in_one_row=False)
    alone = lay_out(LENGTHS, range(8), 45, "off", in_one_row=False)

    assert packed == [[[0], [7, 6], [3, 1], [2, 5], [4]]]
    assert padding_share(LENGTHS, packed) == pytest.approx(1 - 39 / 45)
    assert len(alone) == 8


def test_one_row_holds_a_micro_batch_without_padding() -> None:
    """For flash attention, which takes lengths: rows of up to the micro-batch's tokens, one to each."""
    layout = lay_out(LENGTHS, range(8), 20, "best_fit", in_one_row=True)

    assert [len(rows) for rows in layout] == [1, 1]
    assert sorted(i for rows in layout for row in rows for i in row) == list(range(8))
    assert padding_share(LENGTHS, layout) == 0


def test_positions_begin_again_and_no_example_learns_from_the_one_before() -> None:
    """The first token of each is predicted by nothing of its own, so it weighs nothing; padding is on its own."""
    made = [Example(np.array(t, np.int32), np.ones(len(t), np.float32)) for t in ([5, 6, 7], [8, 9], [1, 2, 3, 4])]

    rows = collate_rows([[made[0], made[1]], [made[2]]], CPU)

    assert rows.tokens.tolist() == [[5, 6, 7, 8, 9], [1, 2, 3, 4, 0]]
    assert rows.weights.tolist() == [[1, 1, 0, 1], [1, 1, 1, 0]]
    assert rows.positions is not None
    assert rows.positions.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]]


def test_without_rows_nothing_is_learnt() -> None:
    """A rank without work still runs the model, on weights of zero."""
    assert collate_rows([], CPU).tokens.shape == (1, 2)
    assert collate_rows([], CPU).weights.sum() == 0


@pytest.fixture(name="model")
def tiny_llama() -> LlamaForCausalLM:
    """Two layers of random weights, large enough that attention shows."""
    torch.manual_seed(1)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=17, max_position_embeddings=64, initializer_range=0.3, **shape)
    return LlamaForCausalLM(config)


def learn(model: LlamaForCausalLM, layout: Layout, *, masked: bool = True) -> tuple[float, torch.Tensor]:
    """The step's loss and gradient under a layout; `masked` False plants the bug: rows without their positions."""
    model.zero_grad()
    made, loss = examples(), 0.0
    for rows in layout:
        batch = collate_rows([[made[i] for i in row] for row in rows], CPU)
        share = -(losses.token_logprobs(_logits(model, batch, masked=masked), batch.tokens) * batch.weights).sum()
        torch.autograd.backward(share / sum(each.num_trained for each in made))
        loss += float(share.detach())
    return loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def _logits(model: LlamaForCausalLM, batch: Rows, *, masked: bool) -> torch.Tensor:
    positions = batch.positions if masked else None
    logits: torch.Tensor = model(input_ids=batch.tokens, position_ids=positions, use_cache=False).logits
    return logits


@pytest.mark.parametrize(("max_tokens", "in_one_row"), [(9, False), (45, False), (20, True), (64, True)])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_give_the_loss_and_gradient_of_each_example_alone(
    model: LlamaForCausalLM, attention: str, max_tokens: int, *, in_one_row: bool
) -> None:
    """To the rounding of fp32, however many rows a micro-batch has."""
    model.set_attn_implementation(attention)
    alone = learn(model, [[[i]] for i in range(8)])

    packed = learn(model, lay_out(LENGTHS, range(8), max_tokens, "best_fit", in_one_row=in_one_row))

    assert packed[0] == pytest.approx(alone[0], rel=1e-6)
    torch.testing.assert_close(packed[1], alone[1], rtol=1e-4, atol=1e-6)


def test_the_comparison_would_see_examples_that_see_each_other(model: LlamaForCausalLM) -> None:
    """Planted: without positions that begin again, loss and gradient differ by far more than rounding."""
    alone = learn(model, [[[i]] for i in range(8)])

    planted = learn(model, lay_out(LENGTHS, range(8), 45, "best_fit", in_one_row=False), masked=False)

    assert abs(planted[0] - alone[0]) > 1e-2 * alone[0]
    assert (planted[1] - alone[1]).abs().max() > 1e-2 * alone[1].abs().max()
