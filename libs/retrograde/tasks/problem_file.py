r"""Problems from a JSONL or parquet file, in the schemas that mathematics data sets commonly have.

    MATH-500      problem, answer, solution, subject, level, unique_id
    NuminaMath    problem, solution (the answer is its last \boxed{}), source
    GSM8K         question, answer ("... #### 42")
    AIME          id, problem, solution, answer

Which column is which is told by its name. `read_problems` keeps level and source, drops repeated statements, and names
file, line, field and fix of whatever is wrong.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from retrograde.core.problem import Problem
from retrograde.grading.answer import boxed
from retrograde.tasks.task import TaskError

QUESTIONS = ("problem", "question")
ANSWERS = ("answer", "final_answer", "expected_answer")
SOLUTION = "solution"
_LEVELS = ("level", "difficulty")
_SOURCES = ("source", "data_source", "dataset")
_IDS = ("id", "unique_id", "problem_id")
_GSM8K = re.compile(r"####\s*(.+?)\s*\Z", re.DOTALL)
_MAX_ID_CHARS = 80

Row = Mapping[str, object]


def read_problems(path: Path, task: str) -> list[Problem]:
    """All problems of `path`, in order, ids unique. Raises TaskError."""
    problems: dict[str, Problem] = {}
    statements: set[str] = set()
    for where, row in _rows(path):
        problem = _problem(row, where, task, path.stem)
        if problem.statement in statements:
            continue
        statements.add(problem.statement)
        if problem.id in problems:
            raise TaskError(f"{where}: id {problem.id!r} is taken by another problem; make the ids differ")
        problems[problem.id] = problem
    if not problems:
        raise TaskError(f"{path}: no problems in it; give one JSON object a line, with 'problem' and 'answer'")
    return list(problems.values())


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """(where it stands, the row) of each row."""
    if not path.is_file():
        raise TaskError(f"{path}: no such file; give the path of a .jsonl or .parquet file")
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    if path.suffix in {".jsonl", ".json"}:
        return _jsonl_rows(path)
    raise TaskError(f"{path}: unknown kind of file {path.suffix!r}; convert it to .jsonl or .parquet")


def _jsonl_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{path}: line {number}", _json_row(line, f"{path}: line {number}")


def _json_row(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise TaskError(f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON ({error}); correct or delete the line") from error
    if not isinstance(row, dict):
        raise TaskError(f"{where}: {type(row).__name__}, not an object; write {{'problem': ..., 'answer': ...}}")
    return row


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - an extra: only parquet files need it
    except ImportError as error:
        raise TaskError(
            f"{path}: reading parquet needs pyarrow; `pip install pyarrow` or give a .jsonl file"
        ) from error
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise TaskError(f"{path}: not a parquet file that can be read ({str(error).splitlines()[0]})") from error
    yield from ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))


def _problem(row: Row, where: str, task: str, stem: str) -> Problem:
    statement = _first(row, QUESTIONS)
    if not statement:
        raise TaskError(f"{where}: no field 'problem' or 'question' ({_fields(row)}); rename the one that asks")
    digest = hashlib.sha256(statement.encode()).hexdigest()[:12]
    return Problem(
        id=_key_part(_first(row, _IDS)) or f"{_key_part(stem)}-{digest}",
        task=task,
        statement=statement,
        gold=_gold(row, where),
        source=_first(row, _SOURCES) or stem,
        level=_first(row, _LEVELS),
    )


def _gold(row: Row, where: str) -> str:
    """The answer: what follows `####`, the last box, the answer itself, or the same of the solution."""
    answer, solution = _first(row, ANSWERS), _first(row, (SOLUTION,))
    if answer:
        found = _GSM8K.search(answer)
        return found[1] if found else (boxed(answer) or answer).strip()
    if not solution:
        raise TaskError(f"{where}: no field 'answer' or 'solution' ({_fields(row)}); rename the one that answers")
    found = _GSM8K.search(solution)
    gold = found[1] if found else (boxed(solution) or "").strip()
    if not gold:
        raise TaskError(f"{where}: field 'solution' ends in no \\boxed{{answer}} and no '#### answer'; add one")
    return gold


def _first(row: Row, names: tuple[str, ...]) -> str:
    """The first of these fields that says something, as text."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int | float) and str(value).strip():
            return str(value).strip()
    return ""


def _fields(row: Row) -> str:
    return "it has " + (", ".join(repr(name) for name in row) or "none")


def _key_part(text: str) -> str:
    """`text` as a part of an object key."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-_MAX_ID_CHARS:]
