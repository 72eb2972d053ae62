"""`python -m services.rollouts --config FILE`: the rollouts service."""

from __future__ import annotations

import asyncio

from retrograde.runtime.process import Process
from retrograde.runtime.settings import load_settings
from retrograde.wire.clients import InferenceClient, VerifierClient
from services.rollouts.feeds import Feeds
from services.rollouts.kept import Kept
from services.rollouts.servicer import NAME, RolloutsServicer, add_to_server
from services.rollouts.settings import RolloutsSettings
from services.rollouts.slots import Slots


async def run(settings: RolloutsSettings) -> None:
    """Builds the service and serves until told to stop."""
    async with Process("rollouts", settings) as process:
        identity, deadline = process.identity, settings.generation_seconds
        inference = await process.enter(
            InferenceClient(settings.inference, identity=identity, deadline_seconds=deadline)
        )
        verifier = await process.enter(VerifierClient(settings.verifier, identity=identity))
        slots, kept = Slots(settings.max_groups_in_flight), Kept(settings.max_kept_bytes)
        feeds = await process.enter(Feeds(process.store, inference, verifier, slots, kept, process.drain))
        process.add_servicer(add_to_server, RolloutsServicer(feeds, inference), NAME)
        await process.serve()


def main() -> None:
    """Entry point."""
    asyncio.run(run(load_settings(RolloutsSettings)))


if __name__ == "__main__":
    main()
