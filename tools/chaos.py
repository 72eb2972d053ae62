"""Simulated schedules of the work plane, bugs planted to see that their checker can fail, real kills: `make chaos`.

    python tools/chaos.py [--schedules N] [--seed FIRST] [--kills]

Plays N schedules from seed FIRST on (docs/work_plane.md) and every planted bug until it is caught, prints a line per
violation and bug, and writes its part of build/chaos.json; the parts of others in that file stay. Ends with status 1
if a schedule is violated or a bug is not caught. A seed that is violated replays exactly: --schedules 1 --seed SEED.

With --kills real services are killed as well, each at all of its named points (tests/chaos/kill_points.py), on a real
Kafka and a real MinIO; a run that they do not end as the calm one gives status 1 too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.chaos import attack  # noqa: E402 - the tests are no installed package
from tests.simulation.planted import BUGS, MOST_SCHEDULES  # noqa: E402 - the tests are no installed package
from tests.simulation.schedule import play  # noqa: E402

REPORT = ROOT / "build/chaos.json"


def violated(first: int, count: int) -> list[int]:
    """Seeds in violation among `count` from `first` on; each is reported."""
    seeds = []
    for seed in range(first, first + count):
        outcome = play(seed)
        if outcome.violations:
            seeds.append(seed)
            print(outcome.report())
    return seeds


def is_caught(name: str) -> bool:
    """Whether one of the first schedules shows the planted bug."""
    seed = next((seed for seed in range(MOST_SCHEDULES) if play(seed, BUGS[name]).violations), None)
    print(f"{name:32} {'not caught' if seed is None else f'caught at seed {seed}'}")
    return seed is not None


def survived_kills() -> bool:
    """Whether the run ended as the calm one although each service was killed at each of its points."""
    with tempfile.TemporaryDirectory() as name:
        outcomes = attack.outcomes_in(Path(name))
    for service, points in outcomes.items():
        print(f"{service:32} {len(points)} kills")
        print(
            "".join(f"  {point}: {outcome}\n" for point, outcome in points.items() if outcome != attack.SURVIVED),
            end="",
        )
    write({"kills": outcomes})
    return all(outcome == attack.SURVIVED for points in outcomes.values() for outcome in points.values())


def write(part: dict[str, object]) -> None:
    """Adds `part` to the report."""
    report = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report | part, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Plays, writes, judges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", action="store_true")
    asked = parser.parse_args()
    seeds = violated(asked.seed, asked.schedules)
    print(f"{asked.schedules} schedules, {len(seeds)} in violation {seeds or ''}")
    planted = {name: is_caught(name) for name in BUGS}
    write({"schedules": asked.schedules, "seed": asked.seed, "violations": len(seeds), "planted": planted})
    survived = survived_kills() if asked.kills else True
    return 1 if seeds or not all(planted.values()) or not survived else 0


if __name__ == "__main__":
    sys.exit(main())
