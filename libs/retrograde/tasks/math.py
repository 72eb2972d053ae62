r"""Mathematics in words: a chat model reasons in paragraphs and ends with \boxed{answer}.

A step is a paragraph, and a solution ends with the paragraph that boxes an answer (or "The answer is ..."), or where
the model stopped. A return names what the earlier paragraph did, in a clause of a few words.

Options of `problems` (recipe: problems.<split>.options):

    file     a .jsonl or .parquet file of problems (problem_file.py tells the schemas); required
    share    [from, to): which part of the file belongs to the split, by a stable hash of each problem;
             default: search [0, 0.6), rl [0.6, 0.8), evaluate [0.8, 1]; [0, 1] takes the whole file
    limit    at most this many problems, drawn by the seed; default: all
    levels   only problems of these levels, for example ["4", "5"]; default: all
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.grading import grade as grade_answer
from retrograde.grading.answer import boxed
from retrograde.tasks import math_prompts
from retrograde.tasks.problem_file import read_problems
from retrograde.tasks.task import Phrases, Task, TaskError

SHARES = {"search": (0.0, 0.6), "rl": (0.6, 0.8), "evaluate": (0.8, 1.0)}
_OPTIONS = ("file", "share", "limit", "levels")
_ANSWERED = re.compile(r"\banswer\s+is\b\W*\w", re.IGNORECASE)
_MAX_CLAUSE_WORDS = 24
_NUMBERING = re.compile(r"\A\W*(?:step\s*)?\d{1,2}\s*[:.)]\s*(?:\*\*|#)?\s*(?!\d)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?:](?=\s|\Z)|\n")
_OPENERS = frozenset(
    "a an the there this that these those it its they we so each every all both in on at if since when after before to "  # noqa: SIM905
    "from for with by he she his her".split()
)
_CONNECTIVES = frozenset("so then now next first second third finally therefore thus hence and".split())  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Options:
    """What `problems` may be told, checked; `share` is a half-open interval in [0, 1]."""

    file: Path
    share: tuple[float, float]
    limit: int
    levels: frozenset[str]


def read_options(options: Mapping[str, object], split: str) -> Options:
    """Raises TaskError that names the option, its value and what it should be."""
    for name in options:
        if name not in _OPTIONS:
            raise TaskError(f"options.{name}: unknown; math knows {', '.join(_OPTIONS)}")
    file, limit, levels = options.get("file"), options.get("limit", 0), options.get("levels", [])
    if not isinstance(file, str) or not file:
        raise TaskError(f"options.file: {file!r} must be the path of a .jsonl or .parquet file of problems")
    if type(limit) is not int or limit < 0:
        raise TaskError(f"options.limit: {limit!r} must be a whole number, 0 for all")
    if not isinstance(levels, list | tuple):
        raise TaskError(f"options.levels: {levels!r} must be a list of levels")
    return Options(Path(file).expanduser(), _share(options, split), limit, frozenset(map(str, levels)))


def _share(options: Mapping[str, object], split: str) -> tuple[float, float]:
    share = options.get("share")
    if share is None:
        if split not in SHARES:
            raise TaskError(f"split: {split!r} is unknown; use one of {', '.join(SHARES)} or give options.share")
        return SHARES[split]
    match share:
        case [int() | float() as start, int() | float() as end] if 0 <= start < end <= 1:
            return float(start), float(end)
        case _:
            raise TaskError(f"options.share: {share!r} must be [from, to] with 0 <= from < to <= 1")


def position(problem: Problem) -> float:
    """Where a problem stands in [0, 1), whatever file, order or seed it comes in."""
    digest = hashlib.sha256(problem.statement.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


PHRASES = Phrases(
    doubt="But wait, are we solving the problem correctly so far? Hmm...\n\n",
    reassurance="Our solution seems to be correct so far.\n\n",
    go_back="Let's go back to where we {recall}.\n\n",
    restart="Let's restart our solution from the beginning.\n\n",
)


@dataclass(frozen=True, slots=True)
class MathTask:
    """The task; `prompt_shape` holds `{problem}`."""

    name: str = "math"
    prompt_shape: str = math_prompts.PROMPT
    stop: tuple[str, ...] = ("\n\n",)
    chat: bool = True
    phrases: Phrases = PHRASES

    def problems(self, options: Mapping[str, object], split: str, seed: int) -> list[Problem]:
        """The problems of the split in an order drawn by `seed`. Raises TaskError."""
        checked = read_options(options, split)
        try:
            problems = read_problems(checked.file, self.name)
        except TaskError as error:
            raise TaskError(f"options.file: {error}") from error
        start, end = checked.share
        kept = [problem for problem in problems if start <= position(problem) < end]
        if checked.levels:
            kept = [problem for problem in kept if problem.level in checked.levels]
        kept.sort(key=lambda problem: hashlib.sha256(f"{seed}/{problem.statement}".encode()).digest())
        return kept[: checked.limit or None]

    def prompt(self, problem: Problem) -> str:
        """The request, as a user turn."""
        return self.prompt_shape.replace("{problem}", problem.statement)

    def split(self, text: str) -> list[str]:
        """Paragraphs, each with the blank line that ends it."""
        (stop,) = self.stop
        parts = text.split(stop)
        return [part + stop for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])

    def is_terminal(self, problem: Problem, steps: Sequence[str]) -> bool:  # noqa: ARG002 - a paragraph is enough
        """Whether the last paragraph tells an answer, or the model stopped in it."""
        step = steps[-1] if steps else ""
        return bool(steps) and (not step.endswith(self.stop) or boxed(step) is not None or bool(_ANSWERED.search(step)))

    def grade(self, problem: Problem, text: str) -> Grade:
        """Judges the last answer told; prose that ends without one is UNPARSABLE."""
        told = "\\boxed" in text or "\\fbox" in text or _ANSWERED.search(text)
        if not told:
            return Grade(Verdict.UNPARSABLE, "no \\boxed{} and no 'the answer is'")
        return grade_answer(text, problem.gold, problem.statement)

    def recall(self, problem: Problem, steps: Sequence[str]) -> str:  # noqa: ARG002 - likewise
        """What the last of `steps` found, as a clause. Raises TaskError for a step that says nothing."""
        if not steps:
            return "started"
        clause = clause_of(steps[-1])
        if not clause:
            raise TaskError(f"steps: {steps[-1]!r} says nothing to go back to")
        return f"found that {clause}"

    def returns(self, problem: Problem, text: str) -> tuple[int, int]:  # noqa: ARG002 - likewise
        """(returns told, those to the beginning or to what a paragraph before them found)."""
        told: set[str] = set()
        num_returns = num_valid = 0
        before, _, after = self.phrases.go_back.partition("{recall}")
        for paragraph in self.split(text):
            if paragraph == self.phrases.restart:
                num_returns, num_valid = num_returns + 1, num_valid + 1
            elif paragraph.startswith(before):
                recalled = paragraph.removeprefix(before).rstrip().removesuffix(after.rstrip())
                num_returns, num_valid = num_returns + 1, num_valid + (recalled in told)
            elif clause := clause_of(paragraph):
                told.add(f"found that {clause}")
        return num_returns, num_valid

    def verdict_start(self, step: str) -> int | None:  # noqa: ARG002 - the task's shape
        """None: a paragraph that ends a solution states no verdict on it."""
        return None

    def step_prompt(self, problem: Problem, so_far: str, step: str) -> str:
        """Few-shot request to retell `step` as one paragraph that continues `so_far`."""
        return math_prompts.retell(problem.statement, so_far, step)

    def judge_prompt(self, problem: Problem, text: str) -> tuple[str, str]:
        """Asks whether the solution is right."""
        return math_prompts.judge(problem.statement, text), "yes"


def clause_of(step: str) -> str:
    """The first sentence of a step as a clause: no numbering, no "So," before it, no full stop after it."""
    body = _NUMBERING.sub("", step.strip())
    end = _SENTENCE_END.search(body)
    words = (body[: end.start()] if end else body).split()
    while words and words[0].rstrip(",").lower() in _CONNECTIVES:
        words.pop(0)
    if words and words[0].lower() in _OPENERS:
        words[0] = words[0].lower()
    return " ".join(words[:_MAX_CLAUSE_WORDS]).rstrip(",;:. ")


TASK: Task = MathTask()
