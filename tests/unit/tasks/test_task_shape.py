"""Every task of the package has the whole shape that the platform asks for."""

from __future__ import annotations

import pkgutil

import pytest

import retrograde.tasks
from retrograde.tasks.task import Task, TaskError, load_task

MEMBERS = [name for name in vars(Task) if not name.startswith("_")]
TASKS = ["countdown", "math", "word_problems"]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_every_member(name: str) -> None:
    """Nothing that search, training or evaluation will ask is missing."""
    task = load_task(name)
    assert [member for member in MEMBERS if not hasattr(task, member)] == []


def test_all_tasks_are_tested() -> None:
    """A module that defines TASK is in the list above."""
    found = [module.name for module in pkgutil.iter_modules(retrograde.tasks.__path__)]
    modules = [name for name in found if hasattr(__import__(f"retrograde.tasks.{name}", fromlist=["x"]), "TASK")]
    assert sorted(modules) == TASKS


def test_an_unknown_task_is_named() -> None:
    """The error says what to write instead."""
    with pytest.raises(TaskError, match=r"'chess' is unknown; use a module of retrograde\.tasks"):
        load_task("chess")
