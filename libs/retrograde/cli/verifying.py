"""`retrograde verify`: the platform's grader on single answers, in a process that can be killed.

Grading is bounded by its own cost gates; the deadline around it is there for what nobody foresaw. A line over it is
`timeout`, one whose grader died is `error`: neither is ever `incorrect`.
"""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from retrograde.core.problem import Grade, Verdict
from retrograde.grading import grade
from retrograde.runtime.errors import InvalidInputError
from retrograde.tasks.countdown import grade_expression

DEADLINE_SECONDS = 5.0
_COUNTDOWN_GOLD = re.compile(r"\s*\d+(?:[ ,]+\d+)+\s*->\s*\d+\s*")


def judge(answer: str, gold: str) -> Grade:
    """One grade. A gold such as `3 7 7 -> 28` asks for an expression over these numbers."""
    if _COUNTDOWN_GOLD.fullmatch(gold):
        return grade_expression(answer, gold)
    return grade(answer, gold)


@dataclass(slots=True)
class Grader:
    """Grades in a child process, which is replaced when it is late or dies. A context manager."""

    deadline_seconds: float = DEADLINE_SECONDS
    _process: ForkServerProcess | None = None
    _pipe: Connection | None = None
    _context: multiprocessing.context.ForkServerContext = field(
        default_factory=lambda: multiprocessing.get_context("forkserver")
    )

    def __enter__(self) -> Self:
        self._context.set_forkserver_preload([__name__])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def grade(self, answer: str, gold: str) -> Grade:
        """One grade, within the deadline."""
        pipe = self._pipe or self._begin()
        try:
            pipe.send((answer, gold))
            if pipe.poll(self.deadline_seconds):
                found: Grade = pipe.recv()
                return found
        except (EOFError, OSError):
            self._end()
            return Grade(Verdict.ERROR, "the grading process died")
        self._end()
        return Grade(Verdict.TIMEOUT, f"not judged within {self.deadline_seconds:g} s")

    def _begin(self) -> Connection:
        ours, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours
        return ours

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _serve(pipe: Connection) -> None:
    """Grades until the other end closes."""
    while True:
        try:
            answer, gold = pipe.recv()
        except EOFError:
            return
        pipe.send(judge(answer, gold))


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(answer, gold) of every line. Raises InvalidInputError naming the file and the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidInputError(f"{path}: cannot be read: {reason}") from error
    return [_pair(path, number, line) for number, line in enumerate(lines, start=1)]


def verdict_lines(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One JSON object with verdict and reason per pair, in order."""
    with Grader() as grader:
        for answer, gold in pairs:
            given = grader.grade(answer, gold)
            yield json.dumps({"verdict": given.verdict.value, "reason": given.reason}, ensure_ascii=False)


def _pair(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path}: line {number}: not JSON ({error.msg}); correct or delete the line") from error
    if not isinstance(record, dict):
        raise InvalidInputError(f'{path}: line {number}: needs {{"answer": ..., "gold": ...}}, not {line[:40]!r}')
    return _text(path, number, record, "answer"), _text(path, number, record, "gold")


def _text(path: Path, number: int, record: dict[str, object], key: str) -> str:
    """The text under `key`; a number is taken as it is written."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidInputError(f"{path}: line {number}: {key!r} must be a text or a number, not {json.dumps(value)}")
    return str(value)
