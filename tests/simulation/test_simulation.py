"""The runtime, the workers and the stages under seeded schedules of faults: see docs/work_plane.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.pipeline import Scene
from tests.simulation.planted import BUGS, MOST_SCHEDULES
from tests.simulation.schedule import calm, play

ROOT = Path(__file__).resolve().parents[2]
SCHEDULES = int(os.environ.get("RETROGRADE_SCHEDULES", "1000"))
PIECES = 10
REPLAYED = (3, 17, 55)


@pytest.mark.parametrize("piece", range(PIECES))
def test_no_schedule_is_in_violation(piece: int) -> None:
    """Nothing is lost, doubled, changed, asked twice or left undone, whatever befalls the processes."""
    for seed in range(piece, SCHEDULES, PIECES):
        outcome = play(seed)
        assert not outcome.violations, outcome.report()


def test_faults_happen() -> None:
    """The schedules kill, stall, expire, lose connections, and make processes end and begin again."""
    seen = {event.what for seed in range(60) for event in play(seed).history}
    assert {"killed", "stalled", "awake", "left", "no store", "no broker", "calm"} <= seen


@pytest.mark.parametrize("name", BUGS)
def test_the_checker_sees_a_planted_bug(name: str) -> None:
    """It is caught within the first schedules, in one that is in order without it."""
    for seed in range(MOST_SCHEDULES):
        if play(seed, BUGS[name]).violations:
            assert play(seed).violations == []
            return
    pytest.fail(f"{name} was not caught in {MOST_SCHEDULES} schedules")


def test_a_seed_replays_exactly() -> None:
    """Twice in this process and in two others with other hash seeds, a schedule has one and the same history."""
    here = [[play(seed).digest for seed in REPLAYED] for _ in range(2)]
    there = [_digests(hash_seed) for hash_seed in ("1", "2")]
    assert [*here, *there] == [here[0]] * 4


def _digests(hash_seed: str) -> list[str]:
    program = f"from tests.simulation.schedule import play\nfor seed in {REPLAYED}: print(play(seed).digest)"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


def test_a_calm_run_asks_every_question_once() -> None:
    """Undisturbed, each problem has its tree and each question is asked one time: what others are measured by."""
    expected = calm(Scene())
    assert len(expected.trees) == 3
    assert sorted(key.rpartition("/")[2] for key in expected.datasets) == ["astro.jsonl", "direct.jsonl"]


def test_a_report_tells_how_to_see_it_again() -> None:
    """A violated schedule names its seed, the command, the violation and the last events."""
    outcome = next(
        found for seed in range(MOST_SCHEDULES) if (found := play(seed, BUGS["commit_past_a_gap"])).violations
    )
    report = outcome.report()
    assert f"make chaos SCHEDULES=1 SEED={outcome.seed}" in report
    assert outcome.violations[0] in report
    assert report.splitlines()[-1].split()[0] == f"{outcome.history[-1].at:.3f}"
