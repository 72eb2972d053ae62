"""The whole loop as a user runs it: one command, six services, a real engine, real training, a report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retrograde.core.solution import SolutionKind
from retrograde.runtime.adapters import open_store
from retrograde.tasks.task import load_task
from retrograde.v1 import run_pb2, solution_pb2, tree_pb2
from retrograde.wire.convert import tree_from_proto
from retrograde.wire.convert_solution import solution_set_from_proto

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

RECIPE = Path(__file__).parent / "small.yaml"
ARMS = {"base", "best_of_n", "direct_sft", "astro_sft", "direct_rl", "astro_rl"}


def retrograde(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retrograde.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished run."""
    folder = tmp_path_factory.mktemp("loop") / "out"
    result = retrograde("run", RECIPE, "--out", folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def report(out: Path) -> dict[str, Any]:
    """The run's report."""
    parsed: dict[str, Any] = json.loads((out / "report.json").read_text())
    return parsed


def stored_run(out: Path) -> tuple[Any, str]:
    """(store, key prefix of the one run in it)."""
    store = open_store(f"file://{out / 'store'}")
    (key,) = [key for key in store.list("runs/") if key.endswith("/run.pb")]
    return store, key.removesuffix("/run.pb")


def test_the_report_keeps_its_contract(report: dict[str, Any]) -> None:
    """Every arm has its scores with an interval around them, and every stage its cost."""
    assert set(report["arms"]) == ARMS
    for arm in ARMS:
        scores = report["arms"][arm]["countdown"]
        low, high = scores["ci95"]
        assert 0 <= low <= scores["pass_at_1"] <= high <= 1
        assert {"n", "maj_at_k", "k", "mean_tokens", "mean_backtracks"} <= set(scores)
    assert {"prompt_tokens", "generated_tokens", "verifier_calls", "wall_seconds"} <= set(report["cost"]["search"])
    assert (report["search"]["problems"], report["search"]["trees"]) == (60, 60)
    assert report["rl"]["astro_rl"]["step"] == report["rl"]["direct_rl"]["step"] == [1, 2, 3]


def test_every_problem_has_one_tree_and_every_solution_is_right(out: Path) -> None:
    """No problem is lost or doubled, and each stored solution passes the task's own grading with valid returns."""
    store, run = stored_run(out)
    task = load_task("countdown")
    wanted = [json.loads(line)["id"] for line in store.get(f"{run}/problems/search.jsonl").decode().splitlines()]
    trees = [tree_from_proto(tree_pb2.SearchTree.FromString(store.get(key))) for key in store.list(f"{run}/trees/")]
    assert sorted(tree.problem.id for tree in trees) == sorted(wanted)
    sets = [solution_pb2.SolutionSet.FromString(store.get(key)) for key in store.list(f"{run}/solutions/")]
    solutions = [solution for each in sets for solution in solution_set_from_proto(each).solutions]
    assert {solution.kind for solution in solutions} == set(SolutionKind)
    for solution in solutions:
        told, valid = task.returns(solution.problem, solution.completion)
        assert task.grade(solution.problem, solution.completion).verdict.value == "correct"
        assert told == valid == solution.trace.num_backtracks


def test_the_logs_of_finished_trees_are_gone(out: Path) -> None:
    """A finished tree is one object; nothing of its log is left."""
    store, run = stored_run(out)
    assert list(store.list(f"{run}/tree-logs/")) == []


def test_checkpoints_load_as_hugging_face_directories(out: Path) -> None:
    """Each trained arm loads with transformers, tokenizer included, and differs from the base."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    for arm in ARMS - {"base", "best_of_n"}:
        model = AutoModelForCausalLM.from_pretrained(out / "checkpoints" / arm)
        tokenizer = AutoTokenizer.from_pretrained(out / "checkpoints" / arm)
        text = " 3 * 7 = 21, left: 7 21\n"
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
        assert model.num_parameters() > 0


def test_the_training_sets_are_matched(out: Path) -> None:
    """Both arms learn from equally many solutions."""
    store, run = stored_run(out)
    direct, astro = (store.get(f"{run}/datasets/{name}.jsonl").decode().splitlines() for name in ("direct", "astro"))
    assert len(direct) == len(astro) > 0


def test_the_same_command_repeats_nothing(out: Path) -> None:
    """A finished run is found again: no stage starts a second time."""
    store, run = stored_run(out)
    before = run_pb2.Run.FromString(store.get(f"{run}/run.pb"))
    result = retrograde("run", RECIPE, "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    assert run_pb2.Run.FromString(store.get(f"{run}/run.pb")) == before


def test_another_recipe_is_refused_in_the_same_folder(out: Path, tmp_path: Path) -> None:
    """The folder of one recipe is not continued by another; the one line says what to do."""
    other = tmp_path / "other.yaml"
    other.write_text(RECIPE.read_text().replace("seed: 7", "seed: 8").replace("../../..", str(RECIPE.parents[3])))
    result = retrograde("run", other, "--out", out)
    assert result.returncode == 2
    assert str(out) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
