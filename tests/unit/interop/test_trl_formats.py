"""TRL's formats of our data, and back."""

from __future__ import annotations

from typing import Any

import pytest
from interop_groups import PROBLEM

from retrograde.core.problem import Problem
from retrograde.interop import trl
from retrograde.runtime.errors import InvalidInputError

LINE: dict[str, Any] = {"id": "s1", "kind": "direct", "prompt": "2 + 2 = ", "completion": "4\n", "chat": False}
CHAT = LINE | {"chat": True}


def test_a_text_line_is_prompt_and_completion() -> None:
    """A line of a task that is asked in plain text is TRL's standard format as it is."""
    assert trl.prompt_completion(LINE) == LINE


def test_a_chat_line_is_conversational() -> None:
    """A line of a task that is asked in chat becomes messages of the user and the assistant."""
    assert trl.prompt_completion(CHAT) == CHAT | {
        "prompt": [{"role": "user", "content": "2 + 2 = "}],
        "completion": [{"role": "assistant", "content": "4\n"}],
    }


@pytest.mark.parametrize("line", [LINE, CHAT])
def test_prompt_and_completion_come_back(line: dict[str, Any]) -> None:
    """What was written as prompt and completion is read as the same line."""
    assert trl.dataset_row(trl.prompt_completion(line)) == line


def test_messages_come_back() -> None:
    """A conversation of one question and one answer is read as the line it was written from."""
    written = trl.messages(CHAT)
    assert "prompt" not in written
    assert "completion" not in written
    assert trl.dataset_row(written) == CHAT


def test_another_conversation_is_refused() -> None:
    """A system message has no place in a line of ours: the error names the roles."""
    turns = [{"role": role, "content": ""} for role in ("system", "user", "assistant")]
    with pytest.raises(InvalidInputError, match=r"messages: roles \['system', 'user', 'assistant'\]"):
        trl.dataset_row({"messages": turns})


@pytest.mark.parametrize("task", ["countdown", "math"])
def test_a_problem_comes_back_from_its_prompt(task: str) -> None:
    """The prompt-only row carries the problem's fields; the prompt is a message where the task is asked in chat."""
    problem = Problem("p", task, PROBLEM.statement, "28", "drawn", "3")
    row = trl.prompt_only(problem)
    assert isinstance(row["prompt"], list) == (task == "math")
    assert trl.problem(row) == problem


def test_a_row_without_the_problem_is_refused() -> None:
    """A prompt alone does not say which problem it asks: the error names what is missing."""
    with pytest.raises(InvalidInputError, match=r"no columns .*'gold'"):
        trl.problem({"prompt": "2 + 2 = "})
