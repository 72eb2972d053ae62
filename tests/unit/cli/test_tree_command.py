"""`retrograde tree`: what every search makes is sound, what is not is found, and differences are named."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrograde.cli.__main__ import main
from retrograde.cli.tree_checks import check_tree
from retrograde.cli.tree_views import best_path, first_difference
from retrograde.core.problem import Grade, Provenance, Verdict
from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import Node, NodeOrigin, SearchTree
from retrograde.wire.convert import tree_to_proto
from services.search.driver import Driver, NoLog
from tests.unit.search.search_fakes import COUNTDOWN, Run, ScriptedPolicy, TaskVerifier, delivered, problems

Command = Callable[..., tuple[int, str, str]]
SMALL = SearchSettings(num_iterations=12, num_actions=3, num_rollouts=2)


def searched(seed: int = 0, **settings: object) -> SearchTree:
    """A tree made by the driver with a scripted policy."""
    (problem,) = COUNTDOWN.problems({"num_numbers": 4, "count": 1}, "search", seed=5)
    tree = SearchTree(problem, provenance=Provenance(seed=seed))
    search = make_search(tree, COUNTDOWN, SMALL.model_copy(update=settings))

    async def run() -> None:
        async for _ in Driver(ScriptedPolicy(), TaskVerifier()).run(search, NoLog()):
            pass

    asyncio.run(run())
    return tree


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `retrograde tree ARGUMENTS`: (status, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["retrograde", "tree", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def stored(tree: SearchTree, path: Path) -> Path:
    path.write_bytes(tree_to_proto(tree).SerializeToString())
    return path


@pytest.mark.parametrize("algorithm", ["mcts", "best_of_n", "beam", "best_first"])
@pytest.mark.parametrize("more", [{}, {"num_rollouts": 0}, {"evaluate": "children"}, {"wrong_reward": -0.5}])
@pytest.mark.parametrize("width", [1, 8])
def test_every_search_leaves_a_sound_tree(algorithm: str, more: dict[str, object], width: int) -> None:
    """Whatever the algorithm, the settings and the calls in flight."""
    assert check_tree(searched(algorithm=algorithm, max_in_flight=width, **more)) == []


@pytest.mark.parametrize("selection", ["uct", "gumbel"])
def test_every_selection_leaves_a_sound_tree(selection: str) -> None:
    """Also the other rules of mcts."""
    assert check_tree(searched(selection=selection, max_in_flight=4)) == []


def _inner(tree: SearchTree) -> Node:
    """A node below the root that was visited and has visited children."""
    return next(
        node for node in tree.nodes[1:] if node.visits and any(tree.nodes[child].visits for child in node.children)
    )


def _end(tree: SearchTree) -> Node:
    return next(node for node in tree.nodes if node.is_terminal)


def _rename_child(tree: SearchTree) -> None:
    one, other = tree.nodes[0].children[:2]
    tree.nodes[one].step = tree.nodes[other].step


BREAKS: list[tuple[Callable[[SearchTree], Any], str]] = [
    (lambda tree: setattr(_inner(tree), "visits", 0), "each visit of a child is one of its parent"),
    (lambda tree: setattr(_inner(tree), "value", 5.0), "for its own reward"),
    (lambda tree: setattr(tree.nodes[0], "value", -3.0), "for its own reward"),
    (lambda tree: setattr(tree.nodes[1], "prior", 0.9), "priors sum to"),
    (lambda tree: setattr(tree.nodes[1], "prior", -0.1), "it is a probability"),
    (lambda tree: setattr(tree.nodes[0], "expanded", False), "a node that was not expanded"),
    (lambda tree: setattr(tree.nodes[1], "value", float("nan")), "value is nan"),
    (lambda tree: setattr(tree.nodes[1], "origin", NodeOrigin.ROOT), "no other is the root"),
    (_rename_child, "siblings differ"),
    (lambda tree: tree.add(Node(tree.nodes.index(_end(tree)), NodeOrigin.ROLLOUT)), "nothing follows an end"),
    (lambda tree: tree.add(Node(0, NodeOrigin.ROLLOUT, "x")), "without a grade"),
    (
        lambda tree: tree.add(Node(0, NodeOrigin.ROLLOUT, "x", visits=1, grade=Grade(Verdict.TIMEOUT))),
        "an end without a verdict",
    ),
    (lambda tree: setattr(tree.provenance.cost, "wall_seconds", -1.0), "cost.wall_seconds is -1.0"),
]


@pytest.mark.parametrize(("damage", "told"), BREAKS)
def test_each_damage_is_found(damage: Callable[[SearchTree], Any], told: str) -> None:
    """One number wrong is one complaint at least, in words that say which rule is broken."""
    tree = searched()
    damage(tree)
    assert any(told in fault.detail for fault in check_tree(tree)), check_tree(tree)


def test_check_exits_with_1_and_names_tree_and_node(command: Command, tmp_path: Path) -> None:
    """Of two trees the damaged one is named, with node and rule; sound ones alone exit with 0."""
    good = stored(searched(), tmp_path / "good.pb")
    assert command("check", good) == (0, "1 sound\n", "")
    damaged = searched()
    damaged.nodes[1].prior = 0.9
    bad = stored(damaged, tmp_path / "bad.pb")
    status, said, _ = command("check", good, bad)
    assert status == 1
    assert said.startswith(f"{bad}: node 0: its children's priors sum to")
    status, said, _ = command("check", "--json", bad)
    assert (status, json.loads(said.splitlines()[0])["node"]) == (1, 0)


def test_equal_trees_have_no_difference(command: Command, tmp_path: Path) -> None:
    """The same search twice is equal though its seconds differ; read back from the store too."""
    one, other = stored(searched(max_in_flight=4), tmp_path / "1.pb"), stored(searched(max_in_flight=4), tmp_path / "2")
    status, said, _ = command("diff", one, f"file://{other}")
    assert status == 0
    assert said.startswith("equal\n")


def test_first_difference_is_named_with_its_path(command: Command, tmp_path: Path) -> None:
    """A value deep in the tree, a missing child, other iterations: what differs first, and where."""
    one, other = searched(), searched()
    deep = max(range(len(other.nodes)), key=other.depth)
    other.nodes[deep].visits += 1
    found = first_difference(one, other)
    assert found is not None
    assert found.path == tuple(one.steps(deep))
    assert found.detail == f"visits: {one.nodes[deep].visits} and {one.nodes[deep].visits + 1}"
    other = searched()
    other.add(Node(0, NodeOrigin.ROLLOUT, "new"))
    found = first_difference(one, other)
    assert found is not None
    assert (found.path, found.detail) == ((), f"child {len(one.nodes[0].children)}: none and 'new'")
    longer = dataclasses.replace(searched(), num_iterations=99)
    status, said, _ = command("diff", stored(one, tmp_path / "1.pb"), stored(longer, tmp_path / "2.pb"))
    assert status == 1
    assert said.startswith("first difference: iterations: 12 and 99\n")


def test_best_path_ends_in_the_right_answer_that_was_visited_most() -> None:
    """Not in one that was only seen in a rollout; without a right answer it follows the visits."""
    tree = SearchTree(searched().problem)
    for visits in (1, 5, 3):
        tree.add(Node(0, NodeOrigin.EXPANSION, f"{visits}", visits=visits))
    seldom = tree.add(Node(1, NodeOrigin.EXPANSION, "a", visits=1))
    often = tree.add(Node(3, NodeOrigin.EXPANSION, "b", visits=2))
    assert best_path(tree) == [0, 2]
    for end in (seldom, often):
        tree.nodes[end].grade = Grade(Verdict.CORRECT)
    assert best_path(tree) == [0, 3, often]


def test_show_tells_figures_path_and_nodes(command: Command, tmp_path: Path) -> None:
    """For people the figures, the best path and the tree to the depth; for programs the same in JSON."""
    tree = searched()
    place = stored(tree, tmp_path / "tree.pb")
    status, said, _ = command("show", place, "--depth", "1")
    assert status == 0
    for word in ("generated tokens", "best path", "children", " N "):
        assert word in said
    status, said, _ = command("show", place, "--json", "--node", "1", "--depth", "0")
    told = json.loads(said)
    assert [row["node"] for row in told["nodes"]] == [1]
    assert told["nodes"][0]["step"] == tree.nodes[1].step
    assert told["statistics"]["nodes"] == len(tree.nodes)
    assert told["best_path"] == best_path(tree)


@pytest.mark.parametrize("num_calls", [1, 2, 5, 7])
def test_an_unfinished_tree_is_read_from_its_log(command: Command, tmp_path: Path, num_calls: int) -> None:
    """Killed after so many calls, it is sound, has their iterations and costs, and is shown like a stored one."""
    folder = left_unfinished(tmp_path, num_calls)
    status, said, _ = command("show", folder, "--json")
    figures = json.loads(said)["statistics"]
    assert status == 0
    assert (figures["iterations"], figures["policy version"], figures["seed"]) == (num_calls // 2, 4, 7)
    assert figures["prompt tokens"] == 10 * num_calls
    assert command("check", folder)[:2] == (0, "1 sound\n")


def test_a_log_whose_run_is_not_there_is_refused(command: Command, tmp_path: Path) -> None:
    """Without the recipe nobody knows what was asked; the message names the file that is missing."""
    folder = left_unfinished(tmp_path, 2)
    folder.parent.parent.joinpath("recipe.json").unlink()
    status, _, said = command("show", folder)
    assert status == 2
    assert "the log cannot be replayed" in said
    assert "recipe.json" in said


def left_unfinished(folder: Path, num_calls: int) -> Path:
    """The folder of the log of a tree whose worker was killed once so many of its calls were logged."""

    async def kill() -> None:
        policy = ScriptedPolicy(blocks_at=num_calls)
        task = asyncio.create_task(run.worker(policy).handle(delivered(problem), drain=asyncio.Event()))
        while policy.num_asked <= num_calls:
            assert not task.done()
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait({task})

    run, (problem,) = Run(folder), problems(1)
    run.store.put("runs/r/problems/search.jsonl", json.dumps(dataclasses.asdict(problem)).encode())
    asyncio.run(kill())
    run.broker.close()
    return folder / "store/runs/r/tree-logs" / problem.id


@pytest.mark.parametrize(
    ("place", "told"),
    [("nothing.pb", "No such file"), (".", "a folder"), ("s3://bucket/tree.pb", "this build reads files")],
)
def test_what_is_no_tree_is_refused(command: Command, place: str, told: str) -> None:
    """One line and status 2."""
    status, _, said = command("show", place)
    assert status == 2
    assert told in said
    assert said.count("\n") == 1


def test_bytes_that_are_no_tree_are_refused(command: Command, tmp_path: Path) -> None:
    """Text, an empty file, and a node that is not there."""
    for number, data in enumerate((b"hello there", b"")):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert command("check", path)[0] == 2
    place = stored(searched(), tmp_path / "tree.pb")
    status, _, said = command("show", place, "--node", "100000")
    assert status == 2
    assert "--node: 100000 is not in the tree" in said
