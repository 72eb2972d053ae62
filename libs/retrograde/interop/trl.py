"""TRL's data set formats, from ours and back (TRL documentation, "Dataset formats and types").

    ours                                TRL
    a line of datasets/<arm>.jsonl      prompt and completion: text, or messages where the task is asked in chat
                                        messages: both as one conversation
    a problem                           prompt only, with the problem's fields beside it for reward functions

Rows are plain dictionaries: `datasets.Dataset.from_list` takes them, and so does a JSON line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from retrograde.core.problem import Problem
from retrograde.runtime.errors import InvalidInputError
from retrograde.tasks.task import load_task

Row = dict[str, Any]
_FIELDS = tuple(field.name for field in fields(Problem))


def prompt_completion(row: Mapping[str, Any]) -> Row:
    """A line of our data set -> TRL's `prompt` and `completion`; the line's other columns stay."""
    if not row.get("chat", False):
        return dict(row)
    prompt, completion = _turn("user", row["prompt"]), _turn("assistant", row["completion"])
    return {**row, "prompt": [prompt], "completion": [completion]}


def messages(row: Mapping[str, Any]) -> Row:
    """A line of our data set -> TRL's `messages`; the line's other columns stay."""
    others = {name: value for name, value in row.items() if name not in {"prompt", "completion"}}
    return {**others, "messages": [_turn("user", row["prompt"]), _turn("assistant", row["completion"])]}


def dataset_row(row: Mapping[str, Any]) -> Row:
    """TRL's prompt and completion, text or messages, or its `messages` -> a line of our data set.

    Raises InvalidInputError for a conversation that is not one question and one answer.
    """
    others = {name: value for name, value in row.items() if name not in {"prompt", "completion", "messages"}}
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return {**others, "prompt": row["prompt"], "completion": row["completion"], "chat": False}
    turns = row["messages"] if "messages" in row else [*row.get("prompt", []), *row.get("completion", [])]
    roles = [turn["role"] for turn in turns]
    if roles != ["user", "assistant"]:
        raise InvalidInputError(f"messages: roles {roles}; a line is one turn of the user and one of the assistant")
    return {**others, "prompt": turns[0]["content"], "completion": turns[1]["content"], "chat": True}


def prompt_only(problem: Problem) -> Row:
    """A problem -> TRL's `prompt`, with the problem's fields as columns."""
    task = load_task(problem.task)
    text = task.prompt(problem)
    return {"prompt": [_turn("user", text)] if task.chat else text, **asdict(problem)}


def problem(row: Mapping[str, Any]) -> Problem:
    """What `prompt_only` wrote -> the problem. Raises InvalidInputError naming a column that is missing."""
    missing = [name for name in _FIELDS if name not in row]
    if missing:
        raise InvalidInputError(f"row: no columns {missing}; they say which problem the prompt asks")
    return Problem(**{name: row[name] for name in _FIELDS})


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
