"""Runs and jobs that end badly are counted where an alert can see it: the first one too."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client import REGISTRY

from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import run_pb2
from tests.unit.trainer.trainer_fakes import YAML, Trainer, ended, until

AT_IMPORT = """
import prometheus_client, services.trainer.jobs, services.trainer.runs
print(prometheus_client.generate_latest().decode())
"""


def num_runs(outcome: str) -> float | None:
    return REGISTRY.get_sample_value("retrograde_trainer_runs_total", {"outcome": outcome})


def test_every_end_is_counted_from_zero() -> None:
    """A process in which nothing has ended yet shows each outcome at 0: Prometheus sees no rise from nothing to 1."""
    command = [sys.executable, "-c", AT_IMPORT]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    runs = {f'retrograde_trainer_runs_total{{outcome="{each}"}} 0.0' for each in ("succeeded", "failed", "cancelled")}
    outcomes = ("succeeded", "failed", "refused", "gone")
    jobs = {f'retrograde_trainer_job_attempts_total{{outcome="{each}"}} 0.0' for each in outcomes}
    assert runs | jobs <= set(shown)


async def test_a_failed_run_is_counted() -> None:
    """Once, as failed."""
    trainer, before = Trainer(), num_runs("failed") or 0
    trainer.stages[0].faults = [InvalidInputError("problems.search.count: 0 is too few")]
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        assert (await ended(controller, "r")).state == run_pb2.RUN_STATE_FAILED
        await until(lambda: num_runs("failed") == before + 1)
