"""Where the final answer of a completion is found."""

from __future__ import annotations

import time

import pytest

from retrograde.grading import extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("First \\boxed{1}, no: \\boxed{2}.", "2"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\text{a \\} brace}}", "\\text{a \\} brace}"),
        ("\\fbox{3}", "3"),
        ("\\boxed {4}", "4"),
        ("\\boxed{\\boxed{5}}", "\\boxed{5}"),
        ("The answer is 1. Wait. The final answer is 6.", "6"),
        ("The answer is: 7.5 apples", "7.5 apples"),
        ("Answer: 8\n", "8"),
        ("We add.\n\n3 + 6 = 9\n\n", "3 + 6 = 9"),
        ("\\boxed{1} but the answer is 2", "1"),
    ],
)
def test_the_last_final_answer_is_found(text: str, answer: str) -> None:
    """Boxes before phrases before the final line; of several the last."""
    assert extract_answer(text) == answer


@pytest.mark.parametrize("text", ["", "  \n\n ", "\\boxed{}", "\\boxed{ }"])
def test_nothing_is_found_in_nothing(text: str) -> None:
    """An empty completion, or an empty box, has no answer."""
    assert extract_answer(text) is None


@pytest.mark.parametrize("piece", ["\\boxed{", "{", "answer is ", "\\boxed{1}", "}\n"])
def test_hostile_text_is_read_in_one_pass(piece: str) -> None:
    """Two megabytes of unclosed boxes, braces or phrases take no more than their length."""
    began = time.process_time()
    extract_answer(piece * (2_000_000 // len(piece)))
    assert time.process_time() - began < 2
