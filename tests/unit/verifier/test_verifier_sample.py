"""Which answers are judged a second time, what counts as a disagreement, and how many are kept."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from retrograde.core.problem import Grade, Verdict
from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import problem_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.wire.disagreement import Disagreement, read_disagreements
from services.verifier.settings import VerifierSettings
from services.verifier.shadow import MAX_KEPT_CHARS, Records, Shadow, check_installed, disagreement, is_sampled, outcome

CORRECT, INCORRECT = Verdict.CORRECT, Verdict.INCORRECT
UNPARSABLE, TIMEOUT, ERROR = Verdict.UNPARSABLE, Verdict.TIMEOUT, Verdict.ERROR


def found(number: int) -> Disagreement:
    item = pb.VerifyItem(problem=problem_pb2.Problem(id=f"p{number}", task="math", gold=str(number)), text="0")
    return disagreement(item, Grade(CORRECT, "ours"), Grade(INCORRECT, "theirs"))


def test_the_sample_is_the_same_every_time() -> None:
    """A larger share holds a smaller one, about as many as asked for, and 0 and 1 mean none and all."""
    chosen = {
        share: {n for n in range(2000) if is_sampled(f"answer {n}", "gold", share)} for share in (0.0, 0.1, 0.5, 1.0)
    }
    assert chosen[0.0] == set()
    assert chosen[0.0] < chosen[0.1] < chosen[0.5] < chosen[1.0] == set(range(2000))
    assert 150 < len(chosen[0.1]) < 250
    assert chosen[0.1] == {n for n in range(2000) if is_sampled(f"answer {n}", "gold", 0.1)}


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (CORRECT, CORRECT, "agree"),
        (INCORRECT, UNPARSABLE, "agree"),
        (CORRECT, INCORRECT, "disagree"),
        (UNPARSABLE, CORRECT, "disagree"),
        (CORRECT, TIMEOUT, "unavailable"),
        (ERROR, CORRECT, "unavailable"),
    ],
)
def test_outcome(ours: Verdict, theirs: Verdict, expected: str) -> None:
    """Two graders disagree when one says right and the other not; a timeout or an error is no opinion."""
    assert outcome(ours, theirs) == expected


def test_the_same_disagreement_is_one_object(tmp_path: Path) -> None:
    """Repeats add nothing; what comes back is what was stored."""
    records = Records(DirectoryStore(tmp_path))
    for number in (1, 2, 1):
        records.keep(found(number))
    kept = list(read_disagreements(DirectoryStore(tmp_path)))
    assert sorted(kept, key=lambda each: each.gold) == [found(1), found(2)]


def test_the_store_does_not_grow_without_end(tmp_path: Path) -> None:
    """What is there already counts, also after a restart."""
    first = Records(DirectoryStore(tmp_path), max_stored=3)
    for number in range(2):
        first.keep(found(number))
    second = Records(DirectoryStore(tmp_path), max_stored=3)
    second.count()
    for number in range(10):
        second.keep(found(number))
    assert len(list(read_disagreements(DirectoryStore(tmp_path)))) == 3


def test_a_long_answer_is_kept_by_its_end() -> None:
    """The end is where the answer stands."""
    item = pb.VerifyItem(problem=problem_pb2.Problem(id="p", task="math"), text="x" * 10**6 + "the end")
    kept = disagreement(item, Grade(CORRECT), Grade(INCORRECT))
    assert len(kept.answer) == MAX_KEPT_CHARS
    assert kept.answer.endswith("the end")


def test_a_store_that_cannot_be_opened_is_named() -> None:
    """The error names the setting, its value and the fix."""
    with pytest.raises(InvalidInputError, match=r"^shadow_store: 'foo' .* write file:///"):
        Shadow(VerifierSettings(shadow_store="foo"))


def test_without_math_verify_the_error_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, or which setting to change."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'retrograde\[shadow\]', or set shadow_share to 0"):
        check_installed()
