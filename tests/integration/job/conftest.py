from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tiny_world import World, build_world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session", name="world")
def tiny_world_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One store for all jobs of the session; each job has its own name in it."""
    folder: Path = tmp_path_factory.mktemp("jobs")
    return build_world(folder)
