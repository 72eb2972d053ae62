"""The Verify RPC."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrograde.runtime.errors import InvalidInputError
from retrograde.sandbox.pool import Pool
from retrograde.tasks.task import TaskError, load_task
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer
from services.verifier import metrics
from services.verifier.settings import VerifierSettings
from services.verifier.shadow import Shadow

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]


class VerifierServicer(VerifierServiceServicer):
    """Grades batches. Items go to the children as they came: they are converted there."""

    def __init__(self, pool: Pool, settings: VerifierSettings, shadow: Shadow | None = None) -> None:
        self._pool = pool
        self._shadow = shadow
        self._settings = settings
        self._tasks = set(settings.tasks)

    async def Verify(self, request: pb.VerifyRequest, context: Context) -> pb.VerifyResponse:
        """One grade per item, in order. A caller that goes away, or whose deadline passes, takes its items along."""
        self._check(request.items)
        began = time.monotonic()
        grades = await self._pool.verify(request.items)
        metrics.BATCH_SECONDS.observe(time.monotonic() - began)
        for (verdict, path), count in Counter((grade.verdict, grade.path) for grade in grades).items():
            label = verdict_pb2.Verdict.Name(verdict).removeprefix("VERDICT_").lower()
            metrics.ITEMS.labels(verdict=label, path=metrics.path_label(path)).inc(count)
        if self._shadow is not None:
            self._shadow.watch(request.items, grades)
        return pb.VerifyResponse(grades=grades)

    def _check(self, items: Sequence[pb.VerifyItem]) -> None:
        if len(items) > self._settings.max_batch_items:
            raise InvalidInputError(
                f"items: {len(items)} in one request; send at most {self._settings.max_batch_items} at a time"
            )
        for task in {item.problem.task for item in items} - self._tasks:
            self._check_task(task)

    def _check_task(self, task: str) -> None:
        """Only tasks of the platform, or listed in the settings, are ever imported."""
        if "." in task or not task.isidentifier():
            raise InvalidInputError(
                f"problem.task: {task!r} is not served; list its module under `tasks` in the settings"
            )
        try:
            load_task(task)
        except TaskError as error:
            raise InvalidInputError(f"problem.{error}") from error
        self._tasks.add(task)
