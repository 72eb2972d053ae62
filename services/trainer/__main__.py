"""`python -m services.trainer --config FILE`: the trainer service."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

# Jobs are forked beside a running gRPC server and never use gRPC in the fork; read by grpc at import. Otherwise its
# threads start again in the child, which then sometimes dies before it becomes the job.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from retrograde.runtime.process import Process
from retrograde.runtime.settings import load_settings
from retrograde.runtime.worker_watch import watch
from retrograde.v1.trainer_service_pb2_grpc import add_TrainerServiceServicer_to_server
from retrograde.wire.clients import InferenceClient, VerifierClient
from retrograde.wire.topics import PROBLEMS_TOPIC, REWRITER_GROUP, SEARCH_GROUP, TREES_TOPIC
from services.trainer.controller import Controller
from services.trainer.local_backend import LocalBackend
from services.trainer.servicer import TrainerServicer
from services.trainer.settings import TrainerSettings
from services.trainer.tracking import require_installed

if TYPE_CHECKING:
    from services.trainer.kubernetes.cluster import Cluster


async def run(settings: TrainerSettings) -> None:
    """Builds the service and serves until told to stop."""
    async with Process("trainer", settings) as process:
        policy = await process.enter(InferenceClient(settings.inference, identity=process.identity))
        verifier = await process.enter(VerifierClient(settings.verifier, identity=process.identity))
        cluster = await process.enter(_cluster(settings))
        backend = cluster.backend if cluster else await process.enter(LocalBackend(Path(settings.work_dir)))
        controller = Controller(settings, process.store, process.broker, policy, verifier, backend)
        process.add_servicer(
            add_TrainerServiceServicer_to_server,
            TrainerServicer(controller, process.drain, cluster.leads if cluster else lambda: True),
            "retrograde.v1.TrainerService",
        )
        process.add_worker(functools.partial(cluster.work, controller) if cluster else controller.work)
        for topic, group in ((PROBLEMS_TOPIC, SEARCH_GROUP), (TREES_TOPIC, REWRITER_GROUP)):
            process.add_worker(functools.partial(watch, process.broker, topic, group))  # also while there is no worker
        await process.serve()


@contextlib.asynccontextmanager
async def _cluster(settings: TrainerSettings) -> AsyncIterator[Cluster | None]:
    """Where jobs run; None is this machine, whose jobs have the same packages as this process."""
    if settings.launch.backend == "local":
        require_installed(settings.tracking)
        yield None
    else:
        from services.trainer.kubernetes.cluster import joined  # noqa: PLC0415 - slow, and only a cluster needs it

        with joined(settings.launch, settings.work_dir) as cluster:
            yield cluster


def main() -> None:
    """Entry point."""
    asyncio.run(run(load_settings(TrainerSettings)))


if __name__ == "__main__":
    main()
