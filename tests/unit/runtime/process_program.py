"""A small service that the process tests start: `python process_program.py --config FILE.yaml`.

Verify answers after as many seconds as its first item's text says; a worker counts until it is drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from retrograde.runtime.errors import ForbiddenError, InvalidInputError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.process import Process
from retrograde.runtime.settings import ServiceSettings, load_settings
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer, add_VerifierServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_log = get_logger(__name__)


class SleeperSettings(ServiceSettings):
    """The sleeper, which takes its time."""

    start_seconds: float = Field(0, description="How long the start takes.")
    worker: str = Field("drains", description="drains, hangs or fails.")
    prepared: str = Field("", description="A file that the worker waits for; `never`: it hangs, `wrong`, `forbidden`.")


class Sleeper(VerifierServiceServicer):
    """Sleeps as long as it is told."""

    async def Verify(self, request: pb.VerifyRequest, context: object) -> pb.VerifyResponse:
        """Answers after the seconds in the first item."""
        _log.info("sleeping")
        await asyncio.sleep(float(request.items[0].text))
        return pb.VerifyResponse()


def prepare(waits_for: str) -> None:
    """What a worker's broker may do as it starts."""
    if waits_for == "never":
        _log.info("hanging")
        time.sleep(3600)
    if waits_for == "wrong":
        raise InvalidInputError("broker: wrong; correct it")
    if waits_for == "forbidden":
        raise ForbiddenError("broker: no right; grant it")
    if not Path(waits_for).exists():
        raise UnavailableError("broker: away; start it")


@contextlib.asynccontextmanager
async def resource(name: str) -> AsyncIterator[str]:
    """Says when it is opened and closed."""
    _log.info("opened", name=name)
    try:
        yield name
    finally:
        _log.info("closed", name=name)


async def run(settings: SleeperSettings) -> None:
    """The five lines of a service."""
    async with Process("sleeper", settings) as process:
        await process.enter(resource("first"))
        await process.enter(resource("second"))
        _log.info("starting")
        await asyncio.sleep(settings.start_seconds)
        process.add_servicer(add_VerifierServiceServicer_to_server, Sleeper(), "retrograde.v1.VerifierService")

        async def work(drain: asyncio.Event) -> None:
            if settings.worker == "fails":
                raise ValueError("the worker broke")
            await drain.wait()
            if settings.worker == "hangs":
                await asyncio.sleep(3600)
            _log.info("handed back")

        process.add_worker(work, functools.partial(prepare, settings.prepared) if settings.prepared else None)
        if settings.broker:
            _log.debug("broker", kind=type(process.broker).__name__)
        if settings.store:
            _log.info("store", kind=type(process.store).__name__)
        await process.serve()


if __name__ == "__main__":
    asyncio.run(run(load_settings(SleeperSettings)))
