"""GRPO's objective put together, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from retrograde.core.settings import RlSettings
from services.trainer.job.objective import Logprobs, correction, importance_ratio, objective

LOG_2, LOG_3 = math.log(2), math.log(3)
TWO_TOKENS = torch.ones(1, 2)


def rl(**given: object) -> RlSettings:
    """The settings given, the rest at their defaults."""
    return RlSettings.model_validate(given)


def row(*values: float) -> torch.Tensor:
    """[1, T-1]."""
    return torch.tensor([values])


def test_on_policy_the_loss_is_minus_the_advantage() -> None:
    """By default: no KL, no correction, ratio one."""
    same = row(-1.0, -2.0)

    terms = objective(Logprobs(same, same, same, None), TWO_TOKENS, torch.tensor([0.5]), rl())

    assert terms.loss.tolist() == [[-0.5, -0.5]]
    assert terms.kl.tolist() == [[0.0, 0.0]]
    assert terms.correction.tolist() == [[1.0, 1.0]]


def test_the_ratio_of_a_sequence_is_the_geometric_mean_over_its_trained_tokens() -> None:
    """Log-ratios log 2, log 8 and one that carries no loss: the mean of the first two is log 4."""
    ratio = importance_ratio(row(LOG_2, 3 * LOG_2, 7.0), row(1, 1, 0), rl(ratio="sequence"))

    assert ratio.tolist() == [[pytest.approx(4.0)]]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("off", [1, 1, 1]),
        ("token_truncate", [2, 2.5, 1]),
        ("token_mask", [2, 0, 1]),
        ("sequence_truncate", [2.5]),
        ("sequence_mask", [0]),
    ],
)
def test_corrections_by_hand(setting: str, expected: list[float]) -> None:
    """Trainer over engine is 2 and 3 on the trained tokens, 6 on the sequence; the cap is 2.5."""
    given = rl(old_logprobs="recomputed", importance_correction=setting, importance_cap=2.5)

    weight = correction(row(LOG_2, LOG_3, 9.0), row(1, 1, 0), given)

    assert weight.tolist() == [pytest.approx(expected)]


def test_the_correction_weighs_the_surrogate_and_not_the_kl() -> None:
    """Ratio 1.1 of advantage 1 under a correction of 2 is -2.2; half a KL of k1 = log 2 is added as it is."""
    old, new = row(-1.0), row(-1.0 + math.log(1.1))
    given = rl(old_logprobs="recomputed", importance_correction="token_truncate", kl_coefficient=0.5, kl_estimator="k1")

    terms = objective(Logprobs(new, old, old - LOG_2, new - LOG_2), torch.ones(1, 1), torch.tensor([1.0]), given)

    assert terms.loss.item() == pytest.approx(-2.2 + 0.5 * LOG_2)


def test_the_kl_is_weighted_by_the_ratio_where_asked() -> None:
    """A ratio of 1.1 times k1 = log 2."""
    old, new = row(-1.0), row(-1.0 + math.log(1.1))
    given = rl(kl_coefficient=1.0, kl_estimator="k1", kl_importance_weighted=True)

    terms = objective(Logprobs(new, old, old, new - LOG_2), torch.ones(1, 1), torch.tensor([0.0]), given)

    assert terms.kl.item() == pytest.approx(1.1 * LOG_2)


def test_a_preset_is_published_choices_below_what_is_given() -> None:
    """Plain GRPO divides by the deviation, averages per sequence and has a KL; a setting that is given wins."""
    plain = rl(preset="grpo", kl_coefficient=0.0)

    assert (plain.advantage, plain.aggregation, plain.kl_coefficient) == ("group_std", "sequence", 0.0)
    assert rl(preset="astro") == RlSettings()
    assert RlSettings.model_validate(plain.model_dump()) == plain


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"importance_correction": "token_mask"}, "set old_logprobs: recomputed"),
        ({"max_policy_lag": 2, "old_logprobs": "recomputed"}, "max_policy_lag: 2 trains on older policies' samples"),
        ({"preset": "ppo"}, "preset"),
    ],
)
def test_settings_that_would_bias_the_gradient_are_refused(given: dict[str, object], message: str) -> None:
    """The message names the setting and what to set."""
    with pytest.raises(ValidationError, match=message):
        rl(**given)
