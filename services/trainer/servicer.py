"""The RPCs: from message, call, to message."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc

from retrograde.runtime.errors import InvalidInputError, UnavailableError
from retrograde.v1 import trainer_service_pb2 as pb
from retrograde.v1.trainer_service_pb2_grpc import TrainerServiceServicer
from services.trainer.controller import Controller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class TrainerServicer(TrainerServiceServicer):
    """The lifecycle of runs. A trainer that does not lead answers nothing: the leader knows how runs stand."""

    def __init__(self, controller: Controller, drain: asyncio.Event, leads: Callable[[], bool] = lambda: True) -> None:
        self._all_runs = controller
        self._drain = drain
        self._leads = leads

    @property
    def _controller(self) -> Controller:
        if not self._leads():
            raise UnavailableError("this trainer stands by; the service's address leads to the one at work, ask again")
        return self._all_runs

    async def CreateRun(self, request: pb.CreateRunRequest, context: Context) -> pb.CreateRunResponse:
        """Creates or finds the run."""
        if not _RUN_ID.fullmatch(request.run_id):
            raise InvalidInputError(
                f"run_id: {request.run_id!r} must be 1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit"
            )
        by = request.by or context.peer()
        return pb.CreateRunResponse(run=await self._controller.create(request.run_id, request.recipe_yaml, by))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """The run now."""
        return pb.GetRunResponse(run=(await self._controller.record(request.run_id)).run)

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """Runs by state and page."""
        runs, token = await self._controller.list(request.state, request.page_size, request.page_token)
        return pb.ListRunsResponse(runs=runs, next_page_token=token)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """Stops the run."""
        by = request.by or context.peer()
        return pb.CancelRunResponse(run=await self._controller.cancel(request.run_id, by))

    async def WatchRun(self, request: pb.WatchRunRequest, context: Context) -> AsyncIterator[pb.WatchRunResponse]:
        """Streams the run's changes; UNAVAILABLE once this process drains."""
        record = await self._controller.record(request.run_id)
        async for run in record.watch(self._drain):
            yield pb.WatchRunResponse(run=run)

    async def GetRunHistory(self, request: pb.GetRunHistoryRequest, context: Context) -> pb.GetRunHistoryResponse:
        """What happened to the run."""
        return pb.GetRunHistoryResponse(events=await self._controller.history(request.run_id))

    async def GetRunReport(self, request: pb.GetRunReportRequest, context: Context) -> pb.GetRunReportResponse:
        """The run's report."""
        json, html = await self._controller.report(request.run_id)
        return pb.GetRunReportResponse(json=json, html=html)
