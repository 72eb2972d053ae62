"""Every RPC of every service behind one process: `python all_services_program.py --config FILE.yaml`."""

from __future__ import annotations

import asyncio

from retrograde.runtime.process import Process
from retrograde.runtime.settings import ServiceSettings, load_settings
from tests.unit.security.rpcs import add_to_server, services


async def run(settings: ServiceSettings) -> None:
    async with Process("everything", settings) as process:
        for service in services():
            process.add_servicer(add_to_server, service, service.full_name)
        await process.serve()


if __name__ == "__main__":
    asyncio.run(run(load_settings(ServiceSettings)))
