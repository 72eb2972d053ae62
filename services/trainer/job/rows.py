"""The lines of a dataset, checked before anything is trained on: TRL's formats, and ours with its segments.

    {"prompt": "...", "completion": "..."}          and optionally chat, segments (ours)
    {"prompt": [message, ...], "completion": [message, ...]}
    {"messages": [message, ...]}
    {"text": "..."}

A message is {"role": ..., "content": ...}. Lines of conversations may name `tools` and `chat_template_kwargs`, which go
to the chat template. Other fields are left alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from retrograde.runtime.errors import InvalidInputError

Format = Literal["text", "messages", "strings", "turns"]


class Segment(BaseModel):
    """A sentence of the completion; on a wrong branch's step loss begins at `keep_from`, or nowhere if absent."""

    text: str
    kind: str
    on_path: bool
    keep_from: int | None = None


class Message(BaseModel):
    """A turn of a conversation; templates may read further fields."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[dict[str, Any]] | None = None


class Row(BaseModel):
    """One line. `source` and `line` say where it stands; `problem_id` keeps its solutions on one side of a split."""

    source: str = "dataset"
    line: int = 0
    problem_id: str | int | None = None
    prompt: str | list[Message] | None = None
    completion: str | list[Message] | None = None
    messages: list[Message] | None = None
    text: str | None = None
    chat: bool = False
    segments: list[Segment] | None = None
    tools: list[Any] | str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_format(self) -> Self:
        pair = self.prompt is not None or self.completion is not None
        if (self.text is not None) + (self.messages is not None) + pair != 1:
            raise ValueError("want either prompt and completion, or messages, or text")
        if pair and type(self.prompt) is not type(self.completion):
            raise ValueError("prompt and completion: want both, and both as text or both as messages")
        return self

    @property
    def where(self) -> str:
        """For messages to people."""
        return f"{self.source}: line {self.line}"

    @property
    def format(self) -> Format:
        """Which of the four the line has; `turns` are a prompt and a completion of messages."""
        if self.text is not None:
            return "text"
        if self.messages is not None:
            return "messages"
        return "strings" if isinstance(self.prompt, str) else "turns"


def read_rows(data: bytes, source: str) -> Iterator[Row]:
    """The rows of JSON lines; blank lines are passed over. Raises InvalidInputError naming line and field."""
    for number, line in enumerate(data.decode().split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise InvalidInputError(f"{source}: line {number}: no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InvalidInputError(f"{source}: line {number}: want a JSON object, not {type(fields).__name__}")
        try:
            yield Row.model_validate({**fields, "source": source, "line": number})
        except ValidationError as error:
            raise InvalidInputError(f"{source}: line {number}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    """The most precise of the complaints, with its field; names of types that were tried are left out."""
    worst = max(error.errors(), key=lambda each: len(each["loc"]))
    fields = [str(part) for part in worst["loc"] if part != "str" and "[" not in str(part)]
    return f"{'.'.join(fields)}: {worst['msg']}" if fields else worst["msg"].removeprefix("Value error, ")


def held_out(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(trained on, held out): `share` of the problems, at least one; of the lines where they name no problem.

    Chosen by hash of seed and problem, so that the order of lines does not matter to rows that name theirs.
    """
    keys = [str(row.line) if row.problem_id is None else f"problem {row.problem_id}" for row in rows]
    ordered = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
    chosen = set(ordered[: math.ceil(share * len(ordered))])
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row, key in zip(rows, keys, strict=True):
        sides[key in chosen].append(row)
    return sides
