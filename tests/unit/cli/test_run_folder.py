"""The folder of a run: claimed once, filled from the store, each output whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipes_cli import write_recipe

from retrograde.cli.run_folder import RunFolder, bytes_needed, run_id_of
from retrograde.core.problem import Problem, Provenance
from retrograde.core.solution import (
    Move,
    MoveKind,
    Rewriter,
    SearchTrace,
    Sentence,
    SentenceKind,
    Solution,
    SolutionKind,
)
from retrograde.recipe.recipe import load_recipe
from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.wire.convert_solution import SolutionSet, solution_set_to_proto

PREFIX = "runs/tiny"


def a_solution(name: str, kind: SolutionKind = SolutionKind.DIRECT) -> Solution:
    """A one-step solution."""
    return Solution(
        id=name,
        problem=Problem("p", "countdown", "Numbers: 1 2, target: 3.", "3"),
        prompt="Numbers: 1 2, target: 3.\nSolution:\n",
        sentences=(Sentence(SentenceKind.STEP, " 2 + 1 = 3: ", 1), Sentence(SentenceKind.ANSWER, "yes\n", 1)),
        kind=kind,
        rewriter=Rewriter.TEMPLATE,
        trace=SearchTrace("trees/p.pb", (Move(MoveKind.STEP, 1),), (1,)),
        provenance=Provenance("tiny", "abc", "0.1.0", 2, 7, ("trees/p.pb",)),
    )


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    filled = DirectoryStore(tmp_path / "store")
    for name in ("report.json", "report.html"):
        filled.put(f"{PREFIX}/{name}", name.encode())
    filled.put(f"{PREFIX}/trees/p.pb", b"tree")
    solutions = SolutionSet("p", (a_solution("p-0"), a_solution("p-1", SolutionKind.SEARCH)))
    filled.put(f"{PREFIX}/solutions/p.pb", solution_set_to_proto(solutions).SerializeToString())
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"w")
    filled.upload(f"{PREFIX}/checkpoints/astro_sft", weights)
    return filled


def test_the_same_recipe_claims_the_same_run(tmp_path: Path) -> None:
    """Claiming again gives the same run id: the same command continues."""
    recipe = load_recipe(write_recipe(tmp_path))
    folder = RunFolder.at(tmp_path / "out")
    assert folder.claim(recipe) == folder.claim(recipe) == folder.run_id() == run_id_of(recipe)


def test_outputs_of_the_contract_are_brought_back(tmp_path: Path, store: DirectoryStore) -> None:
    """Report, solutions, trees and checkpoints lie where the contract says, and bringing them again changes nothing."""
    folder = RunFolder.at(tmp_path / "out")
    folder.bring_back(store, "tiny")
    first = {path: path.read_bytes() for path in sorted(folder.path.rglob("*")) if path.is_file()}
    names = {str(path.relative_to(folder.path)) for path in first}
    wanted = {"report.json", "report.html", "solutions.jsonl", "trees/p.pb", "checkpoints/astro_sft/model.safetensors"}
    assert wanted <= names
    assert not any(name.endswith(".partial") for name in names)
    folder.bring_back(store, "tiny")
    assert {path: path.read_bytes() for path in first} == first


def test_solutions_are_trl_lines_with_provenance(tmp_path: Path, store: DirectoryStore) -> None:
    """Each stored solution is one line with prompt, completion, and where it came from."""
    folder = RunFolder.at(tmp_path / "out")
    folder.bring_back(store, "tiny")
    lines = [json.loads(line) for line in (folder.path / "solutions.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == ["p-0", "p-1"]
    assert lines[0]["prompt"] + lines[0]["completion"] == "Numbers: 1 2, target: 3.\nSolution:\n 2 + 1 = 3: yes\n"
    assert lines[0]["provenance"] == {
        "run_id": "tiny",
        "recipe_hash": "abc",
        "code_version": "0.1.0",
        "policy_version": 2,
        "seed": 7,
        "tree_key": "trees/p.pb",
        "rewriter": "template",
        "parent_keys": ["trees/p.pb"],
    }


def test_room_grows_with_the_model_and_its_arms(tmp_path: Path) -> None:
    """Every trained arm needs room for weights, optimiser and saves: 2,000 bytes x (1 + 6 x 3 arms)."""
    few = load_recipe(write_recipe(tmp_path, arms=["base"]))
    all_arms = load_recipe(write_recipe(tmp_path))
    assert bytes_needed(all_arms) - bytes_needed(few) == 2000 * 6 * 3
