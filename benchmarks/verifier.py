"""The verifier: our service over gRPC against Math-Verify in process, and against what bombs must cost.

    verify-mixed       labelled answers of all kinds
    verify-identical   the answer is written as the gold is
    verify-integers    two integers, half of them equal
    verify-hostile     5 % of the items hang; against the most good answers per second that this can leave

All of it - service, its children, client, Math-Verify - runs on one core: figures are answers per second and core, and
ours include building the request, the RPC and reading the reply. Math-Verify parses answer and gold and compares them,
without its timeouts. Every item is new to both, so that nobody answers from memory: ours remembers verdicts, and what
it does for answers that come again, as they do among rollouts of one problem, is not measured here.
"""

from __future__ import annotations

import contextlib
import logging
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from benchmarks.answers import Told, hostile_answers, identical_answers, integer_answers, labelled_answers
from benchmarks.bench import Arms, Bench, Direction
from benchmarks.hanging import HANG, TASK
from benchmarks.verifier_process import Verifier, running_verifier
from retrograde.core.problem import Problem, Verdict
from retrograde.grading import grade
from services.verifier.settings import VerifierSettings

BATCH_ITEMS = 512
NUM_FRESH_ITEMS = 64 * BATCH_ITEMS  # of which ours judges as many as it can in MIN_SECONDS
NUM_AGAINST_ITEMS = 2 * BATCH_ITEMS
MIN_SECONDS = 1.0
NUM_HOSTILE_ITEMS = 1120  # 56 bombs, seven for each seat of late items
BOMB_SHARE = 0.05
HOSTILE = {"tasks": [TASK.name]}

Draw = Callable[[random.Random, int], list[Told]]


class _Comparison:
    """Both arms over the same items, none of which either has judged before."""

    def __init__(self, verifier: Verifier, draw: Draw) -> None:
        self._verifier = verifier
        self._draw = draw
        self._told: list[Told] = []
        self._in_process: list[float] = []

    def prepare(self, repetition: int) -> None:
        """New items."""
        self._told = self._draw(random.Random(repetition), NUM_FRESH_ITEMS)

    def ours(self) -> float:
        """Answers per second through the service."""
        rate = _rate(lambda batch: self._verifier.verify(_items("math", batch)), self._told, BATCH_ITEMS)
        self._in_process.append(_rate(_grade_all, self._told, BATCH_ITEMS))
        return rate

    def against(self) -> float:
        """Answers per second by Math-Verify."""
        from math_verify import parse, verify  # noqa: PLC0415 - seconds to import

        def compare_all(batch: Sequence[Told]) -> None:
            for told in batch:
                gold = parse(f"${told.gold.strip('$')}$", parsing_timeout=None)
                verify(gold, parse(told.completion, parsing_timeout=None), timeout_seconds=None)

        return _rate(compare_all, self._told[:NUM_AGAINST_ITEMS], NUM_AGAINST_ITEMS)

    def note(self) -> str:
        """The library's own speed, without service and RPC."""
        rate = statistics.median(self._in_process)
        return f"batches of {BATCH_ITEMS} over gRPC, one core; our library in process: {rate:.0f} answers/s"


def _grade_all(batch: Sequence[Told]) -> None:
    for told in batch:
        grade(told.completion, told.gold, question=told.question)


def _items(task: str, answers: Sequence[Told]) -> list[tuple[Problem, str]]:
    return [(Problem(str(n), task, told.question, told.gold), told.completion) for n, told in enumerate(answers)]


def _rate(work: Callable[[Sequence[Told]], object], answers: Sequence[Told], batch_items: int) -> float:
    """Answers per second: each is given once, batch by batch, until MIN_SECONDS are over or all are done."""
    began, num_done = time.perf_counter(), 0
    while num_done < len(answers) and time.perf_counter() - began < MIN_SECONDS:
        batch = answers[num_done : num_done + batch_items]
        work(batch)
        num_done += len(batch)
    return num_done / (time.perf_counter() - began)


def _opener(draw: Draw) -> Callable[[], contextlib.AbstractContextManager[Arms]]:
    @contextlib.contextmanager
    def open_arms() -> Iterator[Arms]:
        logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of each timeout that is off
        with running_verifier({}) as verifier:
            comparison = _Comparison(verifier, draw)
            yield Arms(comparison.ours, comparison.against, comparison.prepare, comparison.note)

    return open_arms


def good_answers_bound(bomb_share: float, clean_rate: float, num_seats: int, deadline_seconds: float) -> float:
    """The most good answers per second while `bomb_share` (p) of the items hang: the smaller of two.

    The core grades `clean_rate` items per second, of which 1 - p are good: (1 - p) x clean rate. And a bomb holds one
    of L seats for its deadline D, so at most L / D of them end per second, and (1 - p) / p good answers come with each:
    (1 - p) x L / (p x D).
    """
    return (1 - bomb_share) * min(clean_rate, num_seats / (bomb_share * deadline_seconds))


class _Siege:
    """Good answers per second with bombs among them, and how many there could be at most."""

    def __init__(self, verifier: Verifier, settings: VerifierSettings) -> None:
        self._verifier = verifier
        self._settings = settings
        self._items: list[tuple[Problem, str]] = []
        self._clean: list[Told] = []
        self._clean_rates: list[float] = []
        self._timeouts = Counter[Verdict]()

    def prepare(self, repetition: int) -> None:
        """New items; the bombs stand at random places."""
        source = random.Random(repetition)
        num_bombs = round(NUM_HOSTILE_ITEMS * BOMB_SHARE)
        bomb = (Problem("bomb", TASK.name, "", "0"), HANG)
        self._items = _items(TASK.name, hostile_answers(source, NUM_HOSTILE_ITEMS - num_bombs)) + [bomb] * num_bombs
        source.shuffle(self._items)
        self._clean = hostile_answers(source, NUM_FRESH_ITEMS)

    def ours(self) -> float:
        """Good answers per second of one batch with bombs, to its last verdict."""
        began = time.perf_counter()
        grades = self._verifier.verify(self._items)
        elapsed = time.perf_counter() - began
        hung = [grade for grade, (_, text) in zip(grades, self._items, strict=True) if text == HANG]
        self._timeouts.update(grade.verdict for grade in hung)
        return (len(grades) - len(hung)) / elapsed

    def bound(self) -> float:
        """The most good answers per second; the clean rate is measured now, on items without bombs."""
        rate = _rate(lambda batch: self._verifier.verify(_items(TASK.name, batch)), self._clean, BATCH_ITEMS)
        self._clean_rates.append(rate)
        return self._bound_of(self._settings.num_late_workers, self._clean_rates[-1])

    def _bound_of(self, num_seats: int, clean_rate: float) -> float:
        return good_answers_bound(BOMB_SHARE, clean_rate, num_seats, self._settings.deadline_seconds)

    def note(self) -> str:
        """The bound's two sides, and what became of the bombs."""
        clean = statistics.median(self._clean_rates)
        verdicts = ", ".join(f"{number} {verdict.value}" for verdict, number in self._timeouts.items())
        return (
            f"good answers/s with {BOMB_SHARE:.0%} hanging, against min((1 - p) x clean rate of {clean:.0f}/s, "
            f"(1 - p) x L / (p x D)), L = {self._settings.num_late_workers} seats for late items "
            f"(for one: {self._bound_of(1, clean):.3g}/s), D = {self._settings.deadline_seconds:g} s; "
            f"the bombs: {verdicts}"
        )


@contextlib.contextmanager
def _open_siege() -> Iterator[Arms]:
    with running_verifier(HOSTILE) as verifier:
        siege = _Siege(verifier, VerifierSettings.model_validate(HOSTILE))
        yield Arms(siege.ours, siege.bound, siege.prepare, siege.note)


BENCHES: Sequence[Bench] = (
    Bench("verify-mixed", "answers/s", 1.0, Direction.UP, _opener(labelled_answers)),
    Bench("verify-identical", "answers/s", 20.0, Direction.UP, _opener(identical_answers)),
    Bench("verify-integers", "answers/s", 20.0, Direction.UP, _opener(integer_answers)),
    Bench("verify-hostile", "answers/s", 0.9, Direction.UP, _open_siege),
)
