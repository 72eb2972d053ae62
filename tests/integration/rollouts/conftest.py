"""One running service for all tests of a module of this folder, and clients that are closed whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from retrograde.wire.clients import RolloutsClient
from tests.integration.rollouts import rollouts_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[rollouts_world.World]:
    async with rollouts_world.world(tmp_path_factory.mktemp("rollouts")) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def client(world: rollouts_world.World) -> AsyncIterator[RolloutsClient]:
    async with RolloutsClient(world.address) as client:
        yield client
