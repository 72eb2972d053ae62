"""The calm run that attacked ones are compared with, and where they all lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.attack import calm_run
from tests.chaos.crew import Crew


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs have it above them: the place of its checkpoint is part of a run's recipe."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def calm(runs: Path) -> Iterator[Crew]:
    with calm_run(runs / "calm") as crew:
        yield crew
