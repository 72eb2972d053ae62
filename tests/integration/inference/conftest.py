"""One running service for all tests of this folder: an engine takes half a minute to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from retrograde.wire.clients import InferenceClient
from tests.integration.inference.inference_process import Service, running
from tests.integration.inference.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("inference"))


@pytest.fixture(scope="package")
def service(world: World) -> Iterator[Service]:
    with running(world.folder, **world.settings) as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[InferenceClient]:
    async with InferenceClient(service.address) as client:
        yield client
