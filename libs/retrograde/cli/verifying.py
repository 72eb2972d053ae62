"""`retrograde verify`: the platform's grader on many answers, in processes that can be killed.

    lines of the file -> blocks -> Pool.verify, a few blocks at a time -> verdicts, in the order of the lines

Grading is bounded by its own cost gates; the deadline around it is there for what nobody foresaw. An answer over it is
`timeout`, one whose process died of it is `error`: neither is ever `incorrect`. Of a long file only the blocks at work
are in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from retrograde.cli.judging import BareAnswer
from retrograde.core.problem import Grade
from retrograde.runtime.errors import InvalidInputError
from retrograde.sandbox.limits import Limits
from retrograde.sandbox.pool import Pool
from retrograde.v1 import problem_pb2, verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.wire.convert import grade_from_proto

BLOCK_LINES = 512
BLOCK_BYTES = 1 << 22
MAX_BLOCKS = 32
LIMITS = Limits(tasks=(BareAnswer.name,), max_queued_bytes=1 << 50)  # MAX_BLOCKS is what bounds them
_SHOWN_CHARS = 40


class _LineError(ValueError):
    """What is wrong with a line."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One answer to judge."""

    answer: str
    gold: str
    question: str = ""


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of the file, line by line. Raises InvalidInputError naming the file and the line."""
    number = 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007 - for the message below
                yield _pair(line)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from error
    except _LineError as error:
        raise InvalidInputError(f"{path}: line {number}: {error}") from error


async def verdict_blocks(pairs: Iterable[Pair], limits: Limits = LIMITS) -> AsyncGenerator[str, None]:
    """Lines of JSON with verdict and reason, one for each pair and in order, many at a time.

    When `pairs` raises InvalidInputError, the verdicts of the pairs before come first.
    """
    running: deque[asyncio.Task[list[verdict_pb2.Grade]]] = deque()
    fault: InvalidInputError | None = None
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(Pool(limits))
        stack.callback(lambda: [task.cancel() for task in running])
        try:
            for block in _blocks(pairs):
                running.append(asyncio.create_task(pool.verify(block)))
                await asyncio.sleep(0)  # the pool begins with it before the next one is read
                if len(running) == MAX_BLOCKS:
                    yield _verdict_lines(await running.popleft())
        except InvalidInputError as error:
            fault = error
        while running:
            yield _verdict_lines(await running.popleft())
    if fault is not None:
        raise fault


async def write_verdicts(pairs: Iterable[Pair], out: TextIO) -> None:
    """Writes them to `out` as they come."""
    async with contextlib.aclosing(verdict_blocks(pairs)) as blocks:
        async for block in blocks:
            out.write(block)
            out.flush()


def _blocks(pairs: Iterable[Pair]) -> Iterator[list[pb.VerifyItem]]:
    """What is sent at once; a fault of `pairs` is raised after the last whole pair."""
    block: list[pb.VerifyItem] = []
    num_bytes = 0
    try:
        for pair in pairs:
            block.append(_item(pair))
            num_bytes += len(pair.answer)
            if len(block) == BLOCK_LINES or num_bytes > BLOCK_BYTES:
                yield block
                block, num_bytes = [], 0
    except InvalidInputError:
        yield block
        raise
    yield block


def _item(pair: Pair) -> pb.VerifyItem:
    problem = problem_pb2.Problem(
        id="line", task=BareAnswer.name, statement=_whole(pair.question), gold=_whole(pair.gold)
    )
    return pb.VerifyItem(problem=problem, text=_whole(pair.answer))


def _whole(text: str) -> str:
    """`text` with U+FFFD for half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _verdict_lines(grades: Iterable[verdict_pb2.Grade]) -> str:
    return "".join(map(_verdict_line, map(grade_from_proto, grades)))


def _verdict_line(grade: Grade) -> str:
    return json.dumps({"verdict": grade.verdict.value, "reason": grade.reason}, ensure_ascii=False) + "\n"


def _pair(line: bytes) -> Pair:
    """Raises _LineError."""
    try:
        record = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
    except UnicodeDecodeError as error:
        raise _LineError("not UTF-8; write the file in UTF-8") from error
    except json.JSONDecodeError as error:
        raise _LineError(f"not JSON ({error.msg}); correct or delete the line") from error
    except RecursionError as error:
        raise _LineError("nested too deep; correct or delete the line") from error
    if not isinstance(record, dict):
        shown = line[:_SHOWN_CHARS].decode(errors="replace").rstrip()
        raise _LineError(f'needs {{"answer": ..., "gold": ...}}, not {shown!r}')
    return Pair(_text(record, "answer"), _text(record, "gold"), _text({"question": "", **record}, "question"))


def _text(record: Mapping[str, object], key: str) -> str:
    """The text under `key`, a number as it is written."""
    value = record.get(key)
    if not isinstance(value, str):
        raise _LineError(f"{key!r} must be a text or a number, not {json.dumps(value)[:_SHOWN_CHARS]}")
    return value
