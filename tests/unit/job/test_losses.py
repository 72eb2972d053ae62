"""The losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from services.trainer.job import losses


def test_token_logprobs_are_those_of_the_next_token() -> None:
    """Logits log(1, 3) give the tokens 0 and 1 the probabilities 1/4 and 3/4; the last prediction is unused."""
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)], [5.0, 5.0]]])

    logprobs = losses.token_logprobs(logits, torch.tensor([[0, 1, 0]]))

    assert logprobs.tolist() == [[pytest.approx(math.log(3 / 4)), pytest.approx(math.log(1 / 4))]]


def test_entropy_of_a_fair_coin_is_log_two() -> None:
    """Equal logits over two tokens have log 2 nats; a certain prediction has none."""
    logits = torch.tensor([[[1.0, 1.0], [100.0, 0.0], [0.0, 0.0]]])

    assert losses.token_entropy(logits).tolist() == [[pytest.approx(math.log(2)), pytest.approx(0.0)]]


def test_hits_compare_the_likeliest_with_the_next_token() -> None:
    """The first prediction is right, the second wrong."""
    logits = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]])

    assert losses.token_hits(logits, torch.tensor([[0, 1, 0]])).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 2.0, -2.0, 0.0),
        (1.1, 1.0, -1.1, 0.0),  # inside the region
        (1.5, 1.0, -1.3, 1.0),  # above 1 + 0.3, and better than the group: no more of it
        (1.5, -1.0, 1.5, 0.0),  # above, but worse: the gradient pulls it back
        (0.5, -1.0, 0.8, 1.0),  # below 1 - 0.2, and worse: no more of it
        (0.5, 1.0, -0.5, 0.0),  # below, but better: pulled back
    ],
)
def test_clipped_surrogate_by_case(ratio: float, advantage: float, loss: float, clipped: float) -> None:
    """With bounds 0.2 and 0.3, each side of the region and each sign of the advantage gives PPO's value."""
    logprobs = torch.tensor([[math.log(ratio)]])

    surrogate = losses.clipped_surrogate(logprobs, torch.zeros(1, 1), torch.tensor([advantage]), 0.2, 0.3)

    assert surrogate.loss.item() == pytest.approx(loss)
    assert surrogate.clipped.item() == clipped


def test_gradient_stops_exactly_where_the_surrogate_says_clipped() -> None:
    """Of two tokens of advantage 1, the one inside the region has gradient -ratio, the one above has none."""
    logprobs = torch.tensor([[math.log(1.1), math.log(1.5)]], requires_grad=True)

    surrogate = losses.clipped_surrogate(logprobs, torch.zeros(1, 2), torch.tensor([1.0]), 0.2, 0.2)
    torch.autograd.backward(surrogate.loss.sum())

    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(-1.1), 0.0]]
    assert surrogate.clipped.tolist() == [[0.0, 1.0]]


def test_on_policy_gradient_is_minus_the_advantage() -> None:
    """Where the policy is the one that sampled, the surrogate's gradient is REINFORCE's."""
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)

    surrogate = losses.clipped_surrogate(logprobs, logprobs.detach(), torch.tensor([0.5]), 0.2, 0.2)
    torch.autograd.backward(surrogate.loss.sum())

    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(-0.5), pytest.approx(-0.5)]]


def test_divergence_by_hand() -> None:
    """With d = log 2 the estimate is 2 - log 2 - 1; equal policies have exactly none."""
    logprobs, other = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.0 + math.log(2), -1.0]])

    assert losses.divergence(logprobs, other).tolist() == [[pytest.approx(1 - math.log(2)), 0.0]]


def test_divergence_averages_to_the_true_one() -> None:
    """Weighted by the policy's own probabilities, the estimate is KL(policy || other)."""
    policy, other = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.25, 0.25])

    estimate = (policy * losses.divergence(policy.log(), other.log())).sum()

    assert estimate.item() == pytest.approx((policy * (policy / other).log()).sum().item())
