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
    surrogate = losses.clipped_surrogate(torch.tensor([[ratio]]), torch.tensor([advantage]), 0.2, 0.3)

    assert surrogate.loss.item() == pytest.approx(loss)
    assert (surrogate.clipped_low.item(), surrogate.clipped_high.item()) == (
        clipped * (ratio < 1),
        clipped * (ratio > 1),
    )


@pytest.mark.parametrize(("ratio", "loss"), [(3.0, 3.0), (5.0, 4.0), (0.9, 0.9)])
def test_a_cap_bounds_what_a_bad_sample_can_weigh(ratio: float, loss: float) -> None:
    """With advantage -1 the clip has no upper bound; a cap of 4 is one."""
    surrogate = losses.clipped_surrogate(torch.tensor([[ratio]]), torch.tensor([-1.0]), 0.2, 0.2, ratio_cap=4.0)

    assert surrogate.loss.item() == pytest.approx(loss)


def test_gradient_stops_exactly_where_the_surrogate_says_clipped() -> None:
    """Of two tokens of advantage 1, the one inside the region has gradient -ratio, the one above has none."""
    logprobs = torch.tensor([[math.log(1.1), math.log(1.5)]], requires_grad=True)

    surrogate = losses.clipped_surrogate(logprobs.exp(), torch.tensor([1.0]), 0.2, 0.2)
    torch.autograd.backward(surrogate.loss.sum())

    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(-1.1), 0.0]]
    assert surrogate.clipped_high.tolist() == [[0.0, 1.0]]


def test_on_policy_gradient_is_minus_the_advantage() -> None:
    """Where the policy is the one that sampled, the surrogate's gradient is REINFORCE's."""
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)

    surrogate = losses.clipped_surrogate(torch.exp(logprobs - logprobs.detach()), torch.tensor([0.5]), 0.2, 0.2)
    torch.autograd.backward(surrogate.loss.sum())

    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(-0.5), pytest.approx(-0.5)]]


@pytest.mark.parametrize(("estimator", "value"), [("k1", 0.5), ("k2", 0.125), ("k3", math.exp(-0.5) - 0.5)])
def test_divergence_by_hand(estimator: losses.Estimator, value: float) -> None:
    """With d = 1/2: k1 is d, k2 is d^2 / 2, k3 is exp(-d) - 1 + d; equal policies have exactly none."""
    logprobs, other = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.5, -1.0]])

    assert losses.divergence(logprobs, other, estimator).tolist() == [[pytest.approx(value), 0.0]]


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_divergence_averages_to_the_true_one(estimator: losses.Estimator) -> None:
    """Weighted by the policy's own probabilities, the estimate is KL(policy || other)."""
    policy, other = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.25, 0.25])

    estimate = (policy * losses.divergence(policy.log(), other.log(), estimator)).sum()

    assert estimate.item() == pytest.approx((policy * (policy / other).log()).sum().item())


def test_the_gradient_of_k2_averages_to_the_divergences_and_that_of_k1_to_none() -> None:
    """Over samples of the policy, in a softmax of three: why k1 in a loss does nothing."""
    logits, other = torch.tensor([0.9, -0.3, 0.1], requires_grad=True), torch.tensor([0.5, 0.25, 0.25]).log()

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, logits)[0]

    logprobs = torch.log_softmax(logits, -1)
    probabilities = logprobs.exp().detach()
    truth = gradient((logprobs.exp() * (logprobs - other)).sum())

    logprobs = torch.log_softmax(logits, -1)
    torch.testing.assert_close(gradient((probabilities * losses.divergence(logprobs, other, "k2")).sum()), truth)
    logprobs = torch.log_softmax(logits, -1)
    none = gradient((probabilities * losses.divergence(logprobs, other, "k1")).sum())
    torch.testing.assert_close(none, torch.zeros(3), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("token", [0.2, 0.2, 0.2]), ("sequence", [1 / 12, 1 / 3, 1 / 3]), ("fixed_length", [1 / 24, 1 / 24, 1 / 24])],
)
def test_shares_by_hand(aggregation: losses.Aggregation, expected: list[float]) -> None:
    """Sequences of 4, 1 and 0 trained tokens with max_tokens 8: one of five tokens, one of three sequences, 3 x 8."""
    assert losses.shares(aggregation, [4, 1, 0], 8) == pytest.approx(expected)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "fixed_length"])
def test_nothing_to_share_among_is_no_error(aggregation: losses.Aggregation) -> None:
    """No sequence, or none with a trained token: nothing is divided by zero."""
    assert losses.shares(aggregation, [], 8) == []
    assert all(math.isfinite(share) for share in losses.shares(aggregation, [0], 8))
