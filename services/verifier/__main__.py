"""`python -m services.verifier --config FILE`: the verifier service."""

from __future__ import annotations

import asyncio

from retrograde.runtime.process import Process
from retrograde.runtime.settings import load_settings
from retrograde.v1.verifier_service_pb2_grpc import add_VerifierServiceServicer_to_server
from services.verifier.pool import Pool
from services.verifier.servicer import VerifierServicer
from services.verifier.settings import VerifierSettings


async def run(settings: VerifierSettings) -> None:
    """Builds the service and serves until told to stop."""
    async with Process("verifier", settings) as process:
        pool = await process.enter(Pool(settings))
        servicer = VerifierServicer(pool, settings)
        process.add_servicer(add_VerifierServiceServicer_to_server, servicer, "retrograde.v1.VerifierService")
        await process.serve()


def main() -> None:
    """Entry point."""
    asyncio.run(run(load_settings(VerifierSettings)))


if __name__ == "__main__":
    main()
