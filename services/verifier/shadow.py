"""Our own error rate, seen by a second grader: a share of what was answered is judged again, beside the service.

    async with Shadow(settings) as shadow:
        shadow.watch(items, grades)

`watch` returns at once: it takes what the sample asks for into a line of its own, and drops what that line has no room
for. What waits is judged by a pool of its own, at the lowest priority; verdicts are compared and counted, and
disagreements go to the store. Nothing here can change or delay a verdict.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import itertools
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from retrograde.core.problem import Grade, Verdict
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import InvalidInputError, RetrogradeError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from retrograde.sandbox.limits import Limits
from retrograde.sandbox.pool import Pool
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.wire.convert import grade_from_proto
from retrograde.wire.disagreement import PREFIX, Disagreement, Opinion
from services.verifier import metrics
from services.verifier.settings import VerifierSettings

GRADER = "services.verifier.math_verify_task"
TASKS = frozenset({"math", "word_problems"})
"""Whose golds are mathematical answers; other tasks judge by rules of their own."""

MAX_WAITING_ITEMS = 1_000
MAX_WAITING_BYTES = 1 << 26
MAX_STORED = 10_000
MAX_KEPT_CHARS = 20_000
_ITEMS_AT_A_TIME = 64  # a bomb among them holds up no other
_SAID = frozenset({Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSABLE})
_log = get_logger(__name__)


def is_sampled(text: str, gold: str, share: float) -> bool:
    """Whether an answer belongs to the sample: the same for the same answer, in every run."""
    digest = hashlib.sha256(b"\0".join((text.encode(), gold.encode()))).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def outcome(ours: Verdict, theirs: Verdict) -> str:
    """Whether the two agree that the answer is right, or that it is not; a timeout or an error says nothing."""
    if not {ours, theirs} <= _SAID:
        return "unavailable"
    return "agree" if (ours is Verdict.CORRECT) == (theirs is Verdict.CORRECT) else "disagree"


def check_installed() -> None:
    """Raises InvalidInputError when the second grader is missing."""
    if importlib.util.find_spec("math_verify") is None:
        raise InvalidInputError(
            "shadow_share: Math-Verify is not installed; pip install 'retrograde[shadow]', or set shadow_share to 0"
        )


def _open(url: str) -> ObjectStore:
    """Raises InvalidInputError that names the setting."""
    try:
        return open_store(url)
    except InvalidInputError as error:
        raise InvalidInputError(f"shadow_{error}") from error


class Shadow:
    """See the module."""

    def __init__(self, settings: VerifierSettings) -> None:
        self._share = settings.shadow_share
        limits = Limits(
            num_workers=1,
            num_late_workers=1,
            niceness=19,
            deadline_seconds=settings.deadline_seconds,
            memory_bytes=settings.memory_bytes,
            tasks=(GRADER,),
        )
        self._pool = Pool(limits)
        self._records = Records(_open(settings.shadow_store)) if settings.shadow_store else None
        self._waiting: asyncio.Queue[tuple[pb.VerifyItem, Grade]] = asyncio.Queue(MAX_WAITING_ITEMS)
        self._waiting_bytes = 0
        self._keeping = asyncio.Lock()

    async def __aenter__(self) -> Self:
        check_installed()
        if self._records is not None:
            await asyncio.to_thread(self._records.count)
        await self._pool.__aenter__()
        self._judges = [asyncio.create_task(self._judge_all()) for _ in range(_ITEMS_AT_A_TIME)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for judge in self._judges:
            judge.cancel()
        await asyncio.gather(*self._judges, return_exceptions=True)
        await self._pool.__aexit__(kind, error, traceback)

    def watch(self, items: Sequence[pb.VerifyItem], grades: Sequence[verdict_pb2.Grade]) -> None:
        """Takes what belongs to the sample of these items and our grades."""
        for item, grade in zip(items, grades, strict=True):
            if item.problem.task in TASKS and is_sampled(item.text, item.problem.gold, self._share):
                self._take(item, grade)

    def _take(self, item: pb.VerifyItem, grade: verdict_pb2.Grade) -> None:
        num_bytes = item.ByteSize()
        if self._waiting.full() or self._waiting_bytes + num_bytes > MAX_WAITING_BYTES:
            metrics.SHADOW_DROPPED.labels(reason="behind").inc()
            return
        kept = pb.VerifyItem()
        kept.CopyFrom(item)  # a part of a message keeps the whole message in memory
        self._waiting_bytes += num_bytes
        self._waiting.put_nowait((kept, grade_from_proto(grade)))

    async def _judge_all(self) -> None:
        """Judges what waits, one after the other, until cancelled."""
        while True:
            item, ours = await self._waiting.get()
            self._waiting_bytes -= item.ByteSize()
            try:
                await self._judge(item, ours)
            except RetrogradeError as error:
                metrics.SHADOW_DROPPED.labels(reason="failed").inc()
                _log.warning("shadow grading failed", reason=str(error))

    async def _judge(self, item: pb.VerifyItem, ours: Grade) -> None:
        (grade,) = await self._pool.verify([_for_them(item)])
        theirs = grade_from_proto(grade)
        found = outcome(ours.verdict, theirs.verdict)
        metrics.SHADOW.labels(ours=ours.verdict.value, theirs=theirs.verdict.value, outcome=found).inc()
        if found == "disagree" and self._records is not None:
            async with self._keeping:
                await asyncio.to_thread(self._records.keep, disagreement(item, ours, theirs))


def _for_them(item: pb.VerifyItem) -> pb.VerifyItem:
    """The same answer, for the second grader."""
    theirs = pb.VerifyItem()
    theirs.CopyFrom(item)
    theirs.problem.task = GRADER
    return theirs


def disagreement(item: pb.VerifyItem, ours: Grade, theirs: Grade) -> Disagreement:
    """What is kept of an answer and two grades."""
    return Disagreement(
        answer=item.text[-MAX_KEPT_CHARS:],
        gold=item.problem.gold[:MAX_KEPT_CHARS],
        question=item.problem.statement[:MAX_KEPT_CHARS],
        task=item.problem.task,
        ours=Opinion(ours.verdict.value, ours.reason),
        theirs=Opinion(theirs.verdict.value, theirs.reason),
    )


class Records:
    """Disagreements in a store, at most `max_stored` in all; calls block."""

    def __init__(self, store: ObjectStore, max_stored: int = MAX_STORED) -> None:
        self._store = store
        self._max_stored = max_stored
        self._num_stored = 0

    def count(self) -> None:
        """Counts what the store holds already."""
        self._num_stored = sum(1 for _ in itertools.islice(self._store.list(PREFIX), self._max_stored))

    def keep(self, found: Disagreement) -> None:
        """Stores it unless it is there or there is no room."""
        if self._num_stored >= self._max_stored:
            metrics.SHADOW_DROPPED.labels(reason="store full").inc()
        elif not self._store.exists(found.key):
            self._store.put(found.key, found.to_json())
            self._num_stored += 1
