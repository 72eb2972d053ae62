"""A dataset line -> the tokens of a conversation and the weight of each in the loss.

The prompt is tokenised as the inference pool does it, the completion apart from it, as it will be sampled; so training
sees exactly the tokens that sampling produces. `loss_on` then says which characters carry loss, and a token does when
all its characters do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.batches import Example

LossOn = Literal["all", "completion", "right_path"]


class Segment(TypedDict):
    """A sentence of the completion; on a wrong branch's step loss begins at `keep_from`, or nowhere if absent."""

    text: str
    kind: str
    node: int
    on_path: bool
    keep_from: NotRequired[int | None]


class Row(TypedDict):
    """One line of a dataset (TRL's prompt and completion, plus where each sentence comes from)."""

    id: str
    prompt: str
    completion: str
    chat: NotRequired[bool]
    segments: NotRequired[list[Segment]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The examples that fit, in file order, and how many were too long."""

    examples: tuple[Example, ...]
    num_too_long: int


def read_rows(data: bytes, where: str) -> Iterator[Row]:
    """The rows of JSON lines. Raises InvalidInputError naming the line."""
    for number, line in enumerate(data.decode().splitlines(), start=1):
        try:
            row = json.loads(line)
            if not isinstance(row["prompt"], str) or not isinstance(row["completion"], str):
                raise TypeError("prompt and completion must be strings")  # noqa: TRY301 - answered right below
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"{where}: line {number}: {error!r}; want prompt and completion in JSON") from error
        yield cast("Row", row)


def kept_characters(row: Row, loss_on: LossOn) -> NDArray[np.bool_]:
    """Which characters of the completion carry loss, [len(completion)].

    Raises InvalidInputError when the segments do not spell the completion.
    """
    kept = np.ones(len(row["completion"]), np.bool_)
    if loss_on != "right_path":
        return kept
    start = 0
    for segment in row.get("segments", []):
        end = start + len(segment["text"])
        if segment["kind"] == "step" and not segment["on_path"]:
            keep_from = segment.get("keep_from")
            kept[start : end if keep_from is None else start + keep_from] = False
        start = end
    spelt = "".join(segment["text"] for segment in row.get("segments", []))
    if spelt != row["completion"]:
        raise InvalidInputError(f"row {row['id']}: segments: do not spell the completion; write the dataset again")
    return kept


def kept_tokens(offsets: Sequence[tuple[int, int]], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 for each token of which every character is kept: offsets [T] of (start, end) -> float32 [T]."""
    dropped_before = np.concatenate([[0], np.cumsum(~kept)])
    return np.array([dropped_before[end] == dropped_before[start] for start, end in offsets], np.float32)


def prompt_ids(tokenizer: Any, row: Row) -> list[int]:
    """The prompt's token ids: a chat turn through the model's template, or plain text."""
    if not row.get("chat", False):
        return list(tokenizer(row["prompt"])["input_ids"])
    turn = [{"role": "user", "content": row["prompt"]}]
    text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def tokenise(tokenizer: Any, row: Row, loss_on: LossOn) -> Example:
    """Prompt, completion and end token, with their weights."""
    prompt = prompt_ids(tokenizer, row)
    encoded = tokenizer(row["completion"], add_special_tokens=False, return_offsets_mapping=True)
    weights = kept_tokens(encoded["offset_mapping"], kept_characters(row, loss_on))
    tokens = [*prompt, *encoded["input_ids"], tokenizer.eos_token_id]
    on_prompt = np.full(len(prompt), loss_on == "all", np.float32)
    return Example(np.array(tokens, np.int32), np.concatenate([on_prompt, weights, [1]]).astype(np.float32))


def build_dataset(tokenizer: Any, rows: Iterator[Row], loss_on: LossOn, max_tokens: int) -> Dataset:
    """Tokenises `rows`; those longer than `max_tokens` are left out and counted.

    Raises InvalidInputError when nothing is left, or when the tokenizer names no end token.
    """
    if tokenizer.eos_token_id is None:
        raise InvalidInputError("init_checkpoint: its tokenizer has no eos_token; add one to tokenizer_config.json")
    everything = [tokenise(tokenizer, row, loss_on) for row in rows]
    examples = tuple(example for example in everything if len(example.tokens) <= max_tokens)
    if not examples:
        raise InvalidInputError(f"dataset: no example of at most sft.max_tokens = {max_tokens} tokens; raise it")
    return Dataset(examples, len(everything) - len(examples))
