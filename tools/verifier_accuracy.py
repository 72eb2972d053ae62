"""How often our grader and Math-Verify give the verdict of a label, by form, in one run over both sets.

Reads labelled pairs of answer and gold (one JSON object per line: `form`, `answer`, `gold`, `right`, and where the
verdict needs it `question` and `note`), asks both graders about each pair, prints a table and writes
build/verifier.json. A pair is accepted when the verdict is `correct`; a pair labelled wrong may get any other verdict.

Labels are what a fair teacher would decide, by these conventions:

- The last final answer counts: the last box (boxes of one sentence belong together), else "the answer is", else the
  last line. A box that is empty or never closed holds no answer.
- Equal is exact. A gold that is a rounded decimal is met by what rounds to it at its places; a rounded answer to an
  exact gold is wrong unless the question asks to round.
- Unreduced and unsimplified is right.
- A unit, a name (`x =`) or words may be missing on one side. Two units are compared after conversion.
- `50%` as gold is met by 50%, 0.5 and 50; a gold of 0.5 is not met by 50.
- Tuples, points and vectors are ordered; sets and lists of solutions are not; repetition counts where the question
  says so. Every solution is named, and nothing else.
- A curve's equation may be scaled or rearranged; arguments, integer parameters and constants may be renamed.
- Of a multiple choice the letter or its content is enough; where both are given they must belong together.
- A hedged answer ("3 or 4"), several guesses, or a text that addresses the grader is wrong.

Math-Verify is called as its README says, with its LaTeX and expression targets. It reads LaTeX only between delimiters,
so it is given the better of two spellings: the gold between dollar signs (as it stands where that reads as nothing); an
answer without any delimiter or box as it stands or between dollar signs. Where the gold is an option's letter its
string target is tried too. `allow_set_relation_comp` is on: it compares intervals with inequalities both ways.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from retrograde.core.problem import Grade, Verdict
from retrograde.grading import grade

ROOT = Path(__file__).resolve().parent.parent
LABELLED = ROOT / "tests/data/grading/labelled.jsonl"
HARD = ROOT / "tests/data/grading/hard.jsonl"  # paraphrases, olympiad answers and near misses, each with its question
REPORT = ROOT / "build/verifier.json"
LIMIT_SECONDS = 5
REQUIRED = {"form": str, "answer": str, "gold": str, "right": bool}
OPTIONAL = {"question": str, "note": str}
DELIMITED = re.compile(r"(?<!\\)\$|\\[(\[]|\\f?boxed")
LETTER = re.compile(r"(?:\\text\{)?\(?([A-E])\)?\}?")


class PairsError(ValueError):
    """A file of pairs cannot be used; the message names file, line and fix."""


class OutOfTimeError(BaseException):
    """A grader took longer than LIMIT_SECONDS; no grader catches this by accident."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One labelled pair; `source` is file:line."""

    form: str
    answer: str
    gold: str
    right: bool
    source: str
    question: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair and what the graders say of it."""

    pair: Pair
    ours: Grade
    math_verify: Grade


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `n`."""

    hits: int
    n: int

    @property
    def ratio(self) -> float | None:
        """None of nothing."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (1927)."""
        if not self.n:
            return 0.0, 1.0
        z, n, p = 1.959963984540054, self.n, self.hits / self.n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)


Grader = Callable[[Pair], Grade]


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file. Raises PairsError."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PairsError(f"{path}: cannot be read ({error}); give a file of pairs, one JSON object per line") from error
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    pairs = [_pair(line, f"{shown}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise PairsError(f"{path}: no pairs; write one JSON object per line")
    return pairs


def _pair(line: str, source: str) -> Pair:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise PairsError(f"{source}: not JSON ({error}); write one object per line") from error
    if not isinstance(fields, dict):
        raise PairsError(f"{source}: {type(fields).__name__} instead of an object with {', '.join(REQUIRED)}")
    for name in fields:
        if name not in REQUIRED | OPTIONAL:
            raise PairsError(f"{source}: unknown field {name!r}; known are {', '.join(REQUIRED | OPTIONAL)}")
    for name, kind in (REQUIRED | OPTIONAL).items():
        if name in REQUIRED and name not in fields:
            raise PairsError(f"{source}: field {name!r} is missing; add it")
        if name in fields and not isinstance(fields[name], kind):
            raise PairsError(f"{source}: {name} is {fields[name]!r}; write a {kind.__name__}")
    return Pair(source=source, **fields)


def ours(pair: Pair) -> Grade:
    """Our verdict."""
    return grade(pair.answer, pair.gold, pair.question)


def load_math_verify() -> Grader:
    """Math-Verify's verdict; imported only when asked for. Raises PairsError where it is not installed."""
    try:
        import math_verify as theirs  # noqa: PLC0415 - it imports sympy
    except ImportError as error:
        raise PairsError("Math-Verify is not installed; run `make setup`") from error
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    plain = [theirs.LatexExtractionConfig(), theirs.ExprExtractionConfig()]
    letters = [theirs.StringExtractionConfig(strings=tuple("ABCDE"))]

    def attempts(pair: Pair) -> Iterator[tuple[list[Any], list[Any]]]:
        gold = theirs.parse(f"${pair.gold}$", plain) or theirs.parse(pair.gold, plain)
        yield gold, theirs.parse(pair.answer, plain)
        if not DELIMITED.search(pair.answer):
            yield gold, theirs.parse(f"${pair.answer}$", plain)
        if letter := LETTER.fullmatch(pair.gold):
            yield theirs.parse(letter[1], letters), theirs.parse(pair.answer, letters)

    def judge(pair: Pair) -> Grade:
        equal = any(
            gold and answer and theirs.verify(gold, answer, allow_set_relation_comp=True)
            for gold, answer in attempts(pair)
        )
        return Grade(Verdict.CORRECT if equal else Verdict.INCORRECT)

    return judge


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTimeError in the block once the time is over; main thread only."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge_safely(grader: Grader, pair: Pair) -> Grade:
    """Our grader's verdict; a failure or a timeout is a verdict too, so that one pair cannot end the run."""
    try:
        with time_limit(LIMIT_SECONDS):
            return grader(pair)
    except OutOfTimeError:
        return Grade(Verdict.TIMEOUT, f"over {LIMIT_SECONDS} s")
    except Exception as error:  # noqa: BLE001 - whatever a grader raises is its answer to this pair
        return Grade(Verdict.ERROR, f"{type(error).__name__}: {error}")


def judge_all(pairs: Sequence[Pair], math_verify: Grader, console: Console) -> list[Judged]:
    """Both graders over all pairs, with a bar; Math-Verify keeps its own time limits."""
    shown = track(pairs, description="grading", console=console, transient=True)
    return [Judged(pair, judge_safely(ours, pair), math_verify(pair)) for pair in shown]


def accepted(judged: Iterable[Judged], grader: str, *, right: bool) -> Share:
    """How many of the pairs that are right (or wrong) `grader` ("ours", "math_verify") calls correct."""
    verdicts = [getattr(one, grader).verdict for one in judged if one.pair.right is right]
    return Share(verdicts.count(Verdict.CORRECT), len(verdicts))


def by_form(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    """In the order in which the forms appear."""
    forms: dict[str, list[Judged]] = {}
    for one in judged:
        forms.setdefault(one.pair.form, []).append(one)
    return forms


def figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Numbers of pairs, and for each grader recall and false accepts as ratios (None where there are no such pairs)."""
    found: dict[str, Any] = {
        "right": sum(one.pair.right for one in judged),
        "wrong": sum(not one.pair.right for one in judged),
    }
    for grader in ("ours", "math_verify"):
        found[grader] = {
            "recall": accepted(judged, grader, right=True).ratio,
            "false_accepts": accepted(judged, grader, right=False).ratio,
        }
    return found


def report(judged: Sequence[Judged]) -> dict[str, Any]:
    """What build/verifier.json holds."""
    total = figures(judged)
    for grader in ("ours", "math_verify"):
        total[grader]["recall_interval"] = accepted(judged, grader, right=True).interval
        total[grader]["false_accepts_interval"] = accepted(judged, grader, right=False).interval
    return {
        "forms": {form: figures(of_form) for form, of_form in by_form(judged).items()},
        "total": total,
        "disagreements": [
            asdict(one.pair) | {"verdict": one.ours.verdict.value, "reason": one.ours.reason} for one in misses(judged)
        ],
    }


def misses(judged: Iterable[Judged]) -> list[Judged]:
    """The pairs ours gets wrong."""
    return [one for one in judged if (one.ours.verdict is Verdict.CORRECT) is not one.pair.right]


def table(judged: Sequence[Judged]) -> Table:
    """A line per form: its pairs, what of the right ones each grader accepts, and how many of the wrong ones."""
    shown = Table("form", *("right", "wrong", "recall", "false", "recall", "false"), box=None, header_style="bold")
    for column in shown.columns[1:]:
        column.justify = "right"
    shown.add_row("", "", "", "ours", "", "Math-Verify", "", style="bold")
    for form, of_form in by_form(judged).items():
        shown.add_row(form, *_cells(of_form))
    shown.add_row("all", *_cells(judged), style="bold")
    return shown


def _cells(judged: Sequence[Judged]) -> Iterator[str]:
    yield str(accepted(judged, "ours", right=True).n)
    yield str(accepted(judged, "ours", right=False).n)
    for grader in ("ours", "math_verify"):
        recall = accepted(judged, grader, right=True).ratio
        yield "-" if recall is None else f"{recall:.3f}"
        yield str(accepted(judged, grader, right=False).hits)


def totals(judged: Sequence[Judged]) -> Iterator[str]:
    """A line per grader and figure, with its interval."""
    for grader, name in (("ours", "ours"), ("math_verify", "Math-Verify")):
        for right, figure in ((True, "recall"), (False, "false accepts")):
            share = accepted(judged, grader, right=right)
            if share.n:
                low, high = share.interval
                of_all = f"{share.hits} of {share.n}"
                yield f"{name:12} {figure:14} {share.ratio:7.2%}  {of_all:>12}  95 % interval {low:.2%} to {high:.2%}"


def miss(one: Judged) -> str:
    """A pair ours gets wrong, in full."""
    wanted = "right" if one.pair.right else "wrong"
    lines = [f"{one.pair.source}  {one.pair.form}: {wanted}, but {one.ours.verdict.value} ({one.ours.reason})"]
    lines += [f"    {name:9}{getattr(one.pair, name)!r}" for name in ("answer", "gold")]
    lines += [f"    {name:9}{value!r}" for name in OPTIONAL if (value := getattr(one.pair, name))]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="verifier_accuracy.py",
        description="Measures our grader and Math-Verify on labelled pairs of answer and gold.",
        epilog="A pair is a JSON object on one line: form, answer, gold, right (true or false), question and note "
        "where needed.",
    )
    command.add_argument(
        "--pairs", type=Path, action="append", metavar="FILE",
        help="pairs to measure on; may be given several times (default: both files of tests/data/grading)",
    )  # fmt: skip
    command.add_argument("--misses", action="store_true", help="print each pair ours gets wrong")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, writes build/verifier.json; 2 when a file of pairs cannot be used."""
    wanted = parser().parse_args(arguments)
    try:
        pairs = [pair for path in wanted.pairs or [LABELLED, HARD] for pair in read_pairs(path)]
        judged = judge_all(pairs, load_math_verify(), Console(stderr=True))
    except PairsError as error:
        print(f"verifier-accuracy: {error}", file=sys.stderr)
        return 2
    Console().print(table(judged))
    print("", *totals(judged), *(map(miss, misses(judged)) if wanted.misses else ()), sep="\n")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report(judged), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nwritten: {REPORT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
