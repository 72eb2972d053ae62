"""`python -m services.trainer --config FILE`: the trainer service."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

# Jobs are forked beside a running gRPC server and never use gRPC in the fork; read by grpc at import. Otherwise its
# threads start again in the child, which then sometimes dies before it becomes the job.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from retrograde.runtime.process import Process
from retrograde.runtime.settings import load_settings
from retrograde.v1.trainer_service_pb2_grpc import add_TrainerServiceServicer_to_server
from retrograde.wire.clients import InferenceClient, VerifierClient
from services.trainer.controller import Controller
from services.trainer.local_backend import LocalBackend
from services.trainer.servicer import TrainerServicer
from services.trainer.settings import TrainerSettings
from services.trainer.tracking import require_installed


async def run(settings: TrainerSettings) -> None:
    """Builds the service and serves until told to stop."""
    async with Process("trainer", settings) as process:
        require_installed(settings.tracking)  # jobs on this machine have the same packages
        policy = await process.enter(InferenceClient(settings.inference, identity=process.identity))
        verifier = await process.enter(VerifierClient(settings.verifier, identity=process.identity))
        backend = await process.enter(LocalBackend(Path(settings.work_dir)))
        controller = Controller(settings, process.store, process.broker, policy, verifier, backend)
        process.add_servicer(
            add_TrainerServiceServicer_to_server,
            TrainerServicer(controller, process.drain),
            "retrograde.v1.TrainerService",
        )
        process.add_worker(controller.work)
        await process.serve()


def main() -> None:
    """Entry point."""
    asyncio.run(run(load_settings(TrainerSettings)))


if __name__ == "__main__":
    main()
