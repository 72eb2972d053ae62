"""What people see: progress, trees, findings."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from retrograde.cli.doctor import findings, view
from retrograde.cli.progress import RunProgress
from retrograde.cli.searching import read_problem, tree_view
from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.tree import Node, NodeOrigin, SearchTree
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import run_pb2


def printed(thing: object, *, terminal: bool = False) -> str:
    """What a wide console shows."""
    console = Console(file=io.StringIO(), width=160, force_terminal=terminal)
    console.print(thing)
    return console.file.getvalue()


def a_run(done: int, state: int = run_pb2.RUN_STATE_RUNNING) -> run_pb2.Run:
    """A run in its search stage."""
    run = run_pb2.Run(id="r")
    stage = run.stages.add(name="search", unit="trees", state=state, done=done, total=10, detail="mean 7 nodes")
    stage.started_at.seconds = 100
    if state == run_pb2.RUN_STATE_SUCCEEDED:
        stage.finished_at.seconds = 165
    return run


def test_without_a_terminal_a_stage_is_told_when_it_changes() -> None:
    """Into a file go two lines: the beginning, and the end with the time it took; not every update."""
    console = Console(file=io.StringIO(), width=160)
    with RunProgress(console) as progress:
        for done in (1, 2, 3):
            progress.show(a_run(done))
        progress.show(a_run(10, run_pb2.RUN_STATE_SUCCEEDED))
    lines = console.file.getvalue().splitlines()
    assert lines == [
        "search: running  1/10 trees  mean 7 nodes",
        "search: done in 1 min 05 s  10/10 trees  mean 7 nodes",
    ]


def test_on_a_terminal_a_stage_has_a_bar_with_its_count() -> None:
    """The bar names stage, count, unit and detail, and stands full at the end."""
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with RunProgress(console) as progress:
        progress.show(a_run(4))
        (bar,) = progress._progress.tasks
        assert (bar.completed, bar.total) == (4, 10)
        progress.show(a_run(10, run_pb2.RUN_STATE_SUCCEEDED))
        assert bar.finished
    shown = console.file.getvalue()
    for word in ("search", "10/10 trees", "1 min 05 s", "mean 7 nodes"):
        assert word in shown


def test_short_countdown_problem() -> None:
    """`3 7 7 = 28` is the numbers and the target."""
    problem = read_problem("countdown", "3 7 7 = 28", "")
    assert (problem.statement, problem.gold) == ("Numbers: 3 7 7, target: 28.", "28")


def test_other_problems_need_their_gold() -> None:
    """A problem in words is judged by the gold that is given, and refused without one."""
    assert read_problem("math", "What is 1 + 1?", "2").gold == "2"
    with pytest.raises(InvalidInputError, match="--gold"):
        read_problem("math", "What is 1 + 1?", "")


def test_tree_view_keeps_right_terminals_when_it_cuts() -> None:
    """Of a large tree the most visited nodes are shown, the right terminal in any case, and the rest counted."""
    tree = SearchTree(Problem("p", "countdown", "Numbers: 1 2, target: 3.", "3"))
    for i in range(100):
        tree.add(Node(0, NodeOrigin.EXPANSION, f" step {i}\n", visits=100 - i))
    right = tree.add(Node(0, NodeOrigin.EXPANSION, " the right one\n", visits=0))
    tree.nodes[right].grade = Grade(Verdict.CORRECT)
    shown = printed(tree_view(tree))
    assert "the right one" in shown
    assert "step 0 " in shown
    assert "step 99 " not in shown
    assert "and 62 less visited nodes" in shown


def test_doctor_says_how_to_fix_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A required program that is not there is marked missing, with its fix; what is there has none."""
    monkeypatch.setattr("shutil.which", lambda name: None if name == "ninja" else f"/bin/{name}")
    found = list(findings(tmp_path))
    by_name = {each.name: each for each in found}
    assert (by_name["ninja"].ok, by_name["ninja"].required, by_name["npm"].ok) == (False, True, True)
    shown = printed(view(found))
    assert "pip install ninja" in shown
    assert "Node.js" not in shown
