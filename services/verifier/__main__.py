"""`python -m services.verifier --config FILE`: the verifier service."""

from __future__ import annotations

import asyncio

from retrograde.runtime.process import Process
from retrograde.runtime.settings import load_settings
from retrograde.sandbox.pool import Pool
from retrograde.v1.verifier_service_pb2_grpc import add_VerifierServiceServicer_to_server
from services.verifier import metrics
from services.verifier.servicer import VerifierServicer
from services.verifier.settings import VerifierSettings
from services.verifier.shadow import Shadow


async def run(settings: VerifierSettings) -> None:
    """Builds the service and serves until told to stop."""
    async with Process("verifier", settings) as process:
        pool = await process.enter(Pool(settings, on_end=metrics.count_end))
        metrics.follow(pool)
        shadow = await process.enter(Shadow(settings)) if settings.shadow_share else None
        servicer = VerifierServicer(pool, settings, shadow)
        process.add_servicer(add_VerifierServiceServicer_to_server, servicer, "retrograde.v1.VerifierService")
        await process.serve()


def main() -> None:
    """Entry point."""
    asyncio.run(run(load_settings(VerifierSettings)))


if __name__ == "__main__":
    main()
