"""Prompts that nobody learns from: which rest, and when a feed that finds no others says so."""

from __future__ import annotations

from retrograde.runtime.errors import InvalidInputError, RetrogradeError, UnavailableError
from services.rollouts.settings import FeedSettings

_FEWEST_EQUAL_IN_A_ROW = 256
_MOST_UNGRADED_IN_A_ROW = 16


def rests(last: tuple[int, float] | None, epoch: int, settings: FeedSettings) -> bool:
    """Whether a prompt's last (epoch, pass rate) was outside the band, too few epochs ago to try it again."""
    band = settings.pass_rate_band
    if not band or not last or epoch - last[0] > settings.band_rest_epochs:
        return False
    return last[0] < epoch and not band[0] <= last[1] <= band[1]


def fruitless(reason: str, num_in_a_row: int, num_prompts: int) -> RetrogradeError | None:
    """What is wrong when so many groups in a row were dropped for `reason`; None while they are few.

    Equal rewards are told after two epochs, missing verdicts soon: these are no property of the policy.
    """
    if reason == "ungraded" and num_in_a_row >= _MOST_UNGRADED_IN_A_ROW:
        return UnavailableError(
            f"{num_in_a_row} groups in a row could not be graded and their prompts were dropped; "
            "is the verifier healthy?"
        )
    if reason == "equal" and num_in_a_row >= max(_FEWEST_EQUAL_IN_A_ROW, 2 * num_prompts):
        return InvalidInputError(
            f"drop_equal_groups: all samples had equal rewards in {num_in_a_row} groups in a row; the prompts are too "
            "hard or too easy for this policy: take others, or a feed with drop_equal_groups false"
        )
    return None
