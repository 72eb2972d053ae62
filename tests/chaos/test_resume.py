"""Resume: everything is killed once in one run, at moments drawn by a seed, and the run ends as if nothing had been."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from victims import Attacked, write_small_recipe

from retrograde.tasks.task import load_task

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.timeout(1800)]

SCHEDULE = (
    ("search", "rewriter"),
    ("search", "search"),
    ("search", "verifier"),
    ("search", "inference"),
    ("evaluate base", "trainer"),
    ("sft astro", "job"),
    ("evaluate astro_sft", "supervisor"),
    ("rl astro", "rollouts"),
    ("astro_rl step 3", "job"),
)
"""(moment, victim): killed with -9, up to three seconds after a stage has begun, or right after an optimiser step."""
_LATEST_SECONDS = 3.0


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("chaos")
    run = Attacked(write_small_recipe(folder / "recipe.yaml"), folder / "out")
    try:
        _attack(run, random.Random(20251121))
        yield run
    finally:
        run.end()


def _attack(run: Attacked, rng: random.Random) -> None:
    run.begin()
    for moment, victim in SCHEDULE:
        run.until(lambda moment=moment: run.reached(moment), 900.0, moment)
        time.sleep(rng.uniform(0.0, 0.2 if " step " in moment else _LATEST_SECONDS))
        run.kill(victim)
        if victim == "supervisor":
            run.wait(30.0)
            run.begin()
    run.kill("supervisor", signal.SIGINT)
    assert run.wait(120.0) == 130, run.console()
    run.begin()
    assert run.wait(1200.0) == 0, run.console()


def _ids(run: Attacked, split: str) -> list[str]:
    data = run.store.get(f"{run.prefix}/problems/{split}.jsonl").decode()
    return [json.loads(line)["id"] for line in data.splitlines()]


def test_all_were_killed(attacked: Attacked) -> None:
    """The schedule was carried out in full, and the interrupt after it."""
    assert attacked.log == [*(f"{victim} SIGKILL" for _, victim in SCHEDULE), "supervisor SIGINT"]


def test_problems_are_those_of_the_seed(attacked: Attacked) -> None:
    """The splits hold exactly what the recipe's seed says, none twice."""
    task, recipe = load_task("countdown"), attacked.recipe
    for split, source in (("search", recipe.problems.search), ("evaluate", recipe.problems.evaluate)):
        assert _ids(attacked, split) == [problem.id for problem in task.problems(source.options, split, recipe.seed)]


def test_every_problem_has_one_tree(attacked: Attacked) -> None:
    """No problem is lost and none is searched into a second tree."""
    prefix = f"{attacked.prefix}/trees/"
    found = [key.removeprefix(prefix).removesuffix(".pb") for key in attacked.store.list(prefix)]
    assert sorted(found) == sorted(_ids(attacked, "search"))
    assert sorted(path.stem for path in (attacked.out / "trees").iterdir()) == sorted(found)


def test_no_solution_is_lost_or_doubled(attacked: Attacked) -> None:
    """Every tree was told once: as many solution sets as trees, and no solution twice."""
    sets = list(attacked.store.list(f"{attacked.prefix}/solutions/"))
    assert len(sets) == len(_ids(attacked, "search"))
    lines = (attacked.out / "solutions.jsonl").read_text("utf-8").splitlines()
    ids = Counter(json.loads(line)["id"] for line in lines)
    assert ids
    assert max(ids.values()) == 1


def test_every_sample_was_graded_once(attacked: Attacked) -> None:
    """Each arm has each held-out problem with each sample number exactly once."""
    wanted = {(name, sample) for name in _ids(attacked, "evaluate") for sample in range(3)}
    for arm in attacked.recipe.arms:
        data = attacked.store.get(f"{attacked.prefix}/evaluations/{arm}.jsonl").decode()
        rows = [(row["problem_id"], row["sample"]) for row in map(json.loads, data.splitlines())]
        assert sorted(rows) == sorted(wanted)


def test_training_steps_have_no_gap(attacked: Attacked) -> None:
    """Each optimiser step of each job is there once, from 1 on."""
    for arm in ("astro_sft", "astro_rl"):
        prefix = f"{attacked.prefix}/jobs/{arm}/steps/"
        steps = [int(key.removeprefix(prefix).removesuffix(".json")) for key in attacked.store.list(prefix)]
        assert steps == list(range(1, len(steps) + 1))
    assert len(steps) == 8


def test_outputs_of_the_contract_are_there(attacked: Attacked) -> None:
    """Report, solutions and loadable checkpoints lie in the run's folder."""
    report = json.loads((attacked.out / "report.json").read_text("utf-8"))
    assert set(report["arms"]) == set(attacked.recipe.arms)
    assert report["search"]["trees"] == 40
    assert "</html>" in (attacked.out / "report.html").read_text("utf-8")
    for arm in ("base", "astro_sft", "astro_rl"):
        names = {path.name for path in Path(attacked.out / "checkpoints" / arm).iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
