"""The learning rate, step by step."""

from __future__ import annotations

import pytest

from retrograde.core.settings import RlSettings, SftSettings
from services.trainer.job.schedule import Schedule, rl_schedule, schedule


def test_warm_up_is_linear_and_the_cosine_ends_at_zero() -> None:
    """Two steps up to the peak, then half a cosine over the remaining four."""
    plan = Schedule(num_steps=6, num_warmup_steps=2, peak=1.0)

    rates = [plan.learning_rate(step) for step in range(7)]

    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447, 0.0], abs=1e-6)


def test_steps_follow_from_examples_batches_and_epochs() -> None:
    """Ten examples in batches of four take three steps an epoch, two epochs six."""
    plan = schedule(10, SftSettings(num_epochs=2, batch_size=4, warmup_ratio=0.3, learning_rate=1e-3))

    assert plan == Schedule(num_steps=6, num_warmup_steps=2, peak=1e-3)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
    ],
)
def test_grpo_warms_up_and_then_stays_or_falls(decay: str, expected: list[float]) -> None:
    """Two steps up to the rate, four with what the schedule leaves of it."""
    settings = RlSettings.model_validate(
        {"num_steps": 6, "warmup_steps": 2, "learning_rate": 1.0, "learning_rate_schedule": decay}
    )

    rates = [rl_schedule(settings).learning_rate(step) for step in range(6)]

    assert rates == pytest.approx(expected, abs=1e-6)
