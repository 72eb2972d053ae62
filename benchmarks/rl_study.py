"""`python -m benchmarks.rl_study`: what GRPO adds to fine-tuning on held-out problems, in both arms, over seeds.

Runs one recipe per seed, end to end through the services (`retrograde run`; the same command continues what was
stopped), and compares the arms before and after RL. A seed's interval is over problems; that of all seeds is over
problems of their mean. Prints the table, and leaves it in a file with curves of both arms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from retrograde.analysis.artifacts import Row, RunArtifacts, read_run
from retrograde.analysis.charts import curves
from retrograde.analysis.statistics import Estimate, mean_over_problems
from retrograde.runtime.adapters.urls import open_store

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes/countdown-rl.yaml"
ARMS = ("direct", "astro")
CURVES = {"reward": "reward", "completions/mean_length": "length", "backtracks": "backtracks"}
_STYLE = (
    "svg{font:12px system-ui,sans-serif}polyline{fill:none}.raw{opacity:.3}.grid{stroke:#8b909b;stroke-opacity:.35}"
    ".arm-direct polyline{stroke:#376fa8}.arm-astro polyline{stroke:#b4492f}"
)

Shares = Mapping[str, float]
"""By problem: the share of its samples that are right."""


@dataclass(frozen=True, slots=True)
class Gain:
    """pass@1 of one arm on held-out problems, before and after RL."""

    arm: str
    seed: str
    before: Estimate
    after: Estimate

    @property
    def apart(self) -> bool:
        """Whether it rose, and the intervals have no point in common."""
        return self.after.low > self.before.high


def shares(rows: Sequence[Row]) -> Shares:
    """Of each problem."""
    by_problem: dict[str, list[bool]] = {}
    for row in rows:
        by_problem.setdefault(row.problem_id, []).append(row.is_correct)
    return {problem: statistics.fmean(right) for problem, right in by_problem.items()}


def pooled(seeds: Sequence[Shares]) -> Shares:
    """The mean over seeds, of the problems that all have."""
    common = set.intersection(*(set(seed) for seed in seeds))
    return {problem: statistics.fmean(seed[problem] for seed in seeds) for problem in sorted(common)}


def gain(arm: str, seed: str, before: Shares, after: Shares) -> Gain:
    """With its intervals."""
    return Gain(arm, seed, mean_over_problems([*before.values()]), mean_over_problems([*after.values()]))


def gains(runs: Mapping[int, RunArtifacts]) -> list[Gain]:
    """A row per arm and seed, then one per arm over all seeds."""
    found = []
    for arm in ARMS:
        pairs = {seed: (shares(run.rows[f"{arm}_sft"]), shares(run.rows[f"{arm}_rl"])) for seed, run in runs.items()}
        found += [gain(arm, str(seed), *pair) for seed, pair in pairs.items()]
        if len(pairs) > 1:
            before, after = zip(*pairs.values(), strict=True)
            found.append(gain(arm, "all", pooled(before), pooled(after)))
    return found


def table(rows: Sequence[Gain]) -> Table:
    """For people, in percent."""
    drawn = Table("arm", "seed", "before RL", "after RL", "intervals apart", title="pass@1 on held-out problems, %")
    for row in rows:
        drawn.add_row(row.arm, row.seed, _percent(row.before), _percent(row.after), "yes" if row.apart else "no")
    return drawn


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def drawing(runs: Mapping[int, RunArtifacts]) -> str:
    """A page of curves: means over the seeds, of each arm, per training step."""
    arms = {arm: _mean_steps([run.steps[f"{arm}_rl"] for run in runs.values()]) for arm in ARMS}
    drawn = "".join(curves(arms, name, title) for name, title in CURVES.items())
    return f"<!doctype html><meta charset=utf-8><title>RL study</title><style>{_STYLE}</style>{drawn}\n"


def _mean_steps(seeds: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, list[float]]:
    steps = list(zip(*seeds, strict=False))
    means = {name: [statistics.fmean(step[name] for step in at) for at in steps] for name in CURVES}
    return {"step": [float(number) for number in range(1, len(steps) + 1)], **means}


def run_seed(recipe: Path, seed: int, folder: Path) -> RunArtifacts:
    """The recipe with this seed, from its problems to its report. Raises CalledProcessError when it fails."""
    settings = yaml.safe_load(recipe.read_text(encoding="utf-8")) | {"seed": seed}
    settings["policy"]["checkpoint"] = str((recipe.parent / settings["policy"]["checkpoint"]).resolve())
    out = folder / f"seed-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    seeded = folder / f"seed-{seed}.yaml"
    seeded.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "retrograde.cli", "run", str(seeded), "--out", str(out)], check=True)
    run_id = json.loads((out / "run.json").read_text(encoding="utf-8"))["run_id"]
    return read_run(open_store(f"file://{out}/store"), f"runs/{run_id}")


def result(recipe: Path, rows: Sequence[Gain]) -> dict[str, Any]:
    """For machines."""
    return {"recipe": recipe.name, "gains": [{**asdict(row), "apart": row.apart} for row in rows]}


def main() -> int:
    """Status 0 when every arm's intervals over all seeds are apart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--seeds", default="0,1,2", help="whole numbers with commas between")
    parser.add_argument(
        "--out", type=Path, default=Path("build/rl-study"), help="a folder; run again, it goes on there"
    )
    chosen = parser.parse_args()
    folder = chosen.out.absolute()
    runs = {seed: run_seed(chosen.recipe, seed, folder) for seed in map(int, chosen.seeds.split(","))}
    rows = gains(runs)
    (folder / "rl_study.json").write_text(json.dumps(result(chosen.recipe, rows), indent=1) + "\n", encoding="utf-8")
    (folder / "rl_study.html").write_text(drawing(runs), encoding="utf-8")
    Console().print(table(rows))
    last = {row.arm: row for row in rows}
    return 0 if all(row.apart for row in last.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
