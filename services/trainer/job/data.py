"""A dataset line -> the tokens of a conversation and the weight of each in the loss.

A prompt of text is tokenised as the inference pool does it, the completion apart from it, as it will be sampled; so
training sees exactly the tokens that sampling produces. Conversations go through the model's chat template. `loss_on`
then says what carries loss:

    all          every token
    completion   the completion; lines of prompt and completion
    assistant    what the assistant says; conversations
    right_path   the completion without the steps of wrong branches; lines with segments
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.batches import Example
from services.trainer.job.rows import Message, Row

LossOn = Literal["all", "completion", "assistant", "right_path"]
_FORMATS = {
    "all": {"text", "messages", "strings", "turns"},
    "completion": {"strings", "turns"},
    "assistant": {"messages", "turns"},
    "right_path": {"strings"},
}
_MARKS = re.compile(r"{%-?\s*generation\s*-?%}")


@dataclass(frozen=True, slots=True)
class Dataset:
    """The examples that fit, in file order, and how many were too long."""

    examples: tuple[Example, ...]
    num_too_long: int


def build_dataset(tokenizer: Any, rows: Iterator[Row], loss_on: LossOn, max_tokens: int) -> Dataset:
    """Tokenises `rows`; those longer than `max_tokens` are left out and counted.

    Raises InvalidInputError when nothing is left, or when the tokenizer names no end token.
    """
    if tokenizer.eos_token_id is None:
        raise InvalidInputError("init_checkpoint: its tokenizer has no eos_token; add one to tokenizer_config.json")
    everything = [tokenise(tokenizer, row, loss_on) for row in rows]
    examples = tuple(example for example in everything if len(example.tokens) <= max_tokens)
    if not examples:
        raise InvalidInputError(
            f"dataset: none of its {len(everything)} examples has at most sft.max_tokens = {max_tokens} tokens; raise "
            "it, or give more lines"
        )
    return Dataset(examples, len(everything) - len(examples))


def tokenise(tokenizer: Any, row: Row, loss_on: LossOn) -> Example:
    """Tokens and weights. Raises InvalidInputError naming the line where `loss_on` does not speak of its format."""
    if row.format not in _FORMATS[loss_on]:
        fitting = ", ".join(name for name, formats in _FORMATS.items() if row.format in formats)
        raise InvalidInputError(f"{row.where}: sft.loss_on: {loss_on!r} needs another format; this one has {fitting}")
    match row.format:
        case "text":
            tokens = _ended(tokenizer, tokenizer(row.text)["input_ids"])
            return _example(tokens, np.ones(len(tokens)))
        case "strings":
            return _strings(tokenizer, row, loss_on)
        case _:
            return _conversation(tokenizer, row, loss_on)


def _example(tokens: Sequence[int], weights: NDArray[Any]) -> Example:
    return Example(np.array(tokens, np.int32), weights.astype(np.float32))


def _ended(tokenizer: Any, tokens: list[int]) -> list[int]:
    """With the end token, unless it is there."""
    return [*tokens, tokenizer.eos_token_id] if tokens[-1:] != [tokenizer.eos_token_id] else tokens


# Text


def _strings(tokenizer: Any, row: Row, loss_on: LossOn) -> Example:
    """Prompt, completion and end token."""
    prompt = prompt_ids(tokenizer, row)
    encoded = tokenizer(row.completion, add_special_tokens=False, return_offsets_mapping=True)
    completion = _ended(tokenizer, encoded["input_ids"])
    weights = np.ones(len(completion))
    weights[: len(encoded["input_ids"])] = kept_tokens(encoded["offset_mapping"], kept_characters(row, loss_on))
    return _example([*prompt, *completion], np.concatenate([np.full(len(prompt), loss_on == "all"), weights]))


def prompt_ids(tokenizer: Any, row: Row) -> list[int]:
    """The token ids of a prompt of text: a chat turn through the model's template, or plain."""
    if not row.chat:
        return list(tokenizer(row.prompt)["input_ids"])
    text = _render(tokenizer, row, [{"role": "user", "content": row.prompt}], add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def kept_characters(row: Row, loss_on: LossOn) -> NDArray[np.bool_]:
    """Which characters of a completion of text carry loss, [len(completion)].

    Raises InvalidInputError when the segments do not spell the completion.
    """
    completion, segments = cast("str", row.completion), row.segments or []
    kept = np.ones(len(completion), np.bool_)
    if loss_on != "right_path":
        return kept
    start = 0
    for segment in segments:
        end = start + len(segment.text)
        if segment.kind == "step" and not segment.on_path:
            kept[start : end if segment.keep_from is None else start + segment.keep_from] = False
        start = end
    if "".join(segment.text for segment in segments) != completion:
        raise InvalidInputError(f"{row.where}: segments: do not spell the completion; write the dataset again")
    return kept


def kept_tokens(offsets: Sequence[tuple[int, int]], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 for each token of which every character is kept: offsets [T] of (start, end) -> float32 [T]."""
    dropped_before = np.concatenate([[0], np.cumsum(~kept)])
    return np.array([dropped_before[end] == dropped_before[start] for start, end in offsets], np.float32)


# Conversations


def _conversation(tokenizer: Any, row: Row, loss_on: LossOn) -> Example:
    """A whole conversation through the template, which ends its turns itself: no end token is added."""
    prompt = _dicts(row.prompt)
    turns = prompt + _dicts(row.completion) + _dicts(row.messages)
    text = _render(tokenizer, row, turns)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens = encoded["input_ids"]
    weights = np.ones(len(tokens))
    if loss_on == "assistant":
        weights = assistant_weights(tokenizer, row, turns, text, encoded["offset_mapping"])
    if loss_on == "completion":
        asked = _render(tokenizer, row, prompt, add_generation_prompt=True)
        weights[: _common(tokenizer(asked, add_special_tokens=False)["input_ids"], tokens)] = 0
    return _example(tokens, weights)


def assistant_weights(
    tokenizer: Any, row: Row, turns: Sequence[dict[str, Any]], text: str, offsets: Sequence[tuple[int, int]]
) -> NDArray[Any]:
    """1 on what the assistant says, with the token that ends its turn: [T].

    By the template's own `generation` marks; without, by what each of its turns adds to the conversation before it.
    Raises InvalidInputError where neither tells.
    """
    if _MARKS.search(tokenizer.get_chat_template()):
        weights = np.array(_render(tokenizer, row, turns, marks=True), np.float32)
    else:
        said = np.zeros(len(text), np.bool_)
        for number, turn in enumerate(turns):
            if turn["role"] == "assistant":
                start, end = _span(tokenizer, row, turns, number, text)
                said[start:end] = True
        weights = kept_tokens(offsets, said)
    if not weights.any():
        raise InvalidInputError(f"{row.where}: sft.loss_on: 'assistant', but the assistant says nothing in it")
    return weights


def _span(tokenizer: Any, row: Row, turns: Sequence[dict[str, Any]], number: int, text: str) -> tuple[int, int]:
    """Where turn `number` stands in `text`, up to its end token where it has one."""
    before = _render(tokenizer, row, turns[:number], add_generation_prompt=True)
    upto = _render(tokenizer, row, turns[: number + 1])
    if not (upto.startswith(before) and text.startswith(upto)):
        raise InvalidInputError(
            f"{row.where}: sft.loss_on: 'assistant': the chat template writes a turn differently once others follow; "
            "mark what the assistant says with {% generation %} ... {% endgeneration %} in it"
        )
    ended = upto.rfind(tokenizer.eos_token, len(before))
    return len(before), len(upto) if ended < 0 else ended + len(tokenizer.eos_token)


def _render(tokenizer: Any, row: Row, turns: Sequence[dict[str, Any]], *, marks: bool = False, **more: bool) -> Any:
    """The text of a conversation under the model's chat template, or with `marks` its 0 and 1 of the assistant's."""
    if tokenizer.chat_template is None:
        raise InvalidInputError(
            f"{row.where}: init_checkpoint: its tokenizer has no chat_template; add one to tokenizer_config.json, or "
            "give prompt and completion as text"
        )
    options = {"tokenize": marks, "return_dict": marks, "return_assistant_tokens_mask": marks, "tools": row.tools}
    try:
        made = tokenizer.apply_chat_template(list(turns), **options, **more, **(row.chat_template_kwargs or {}))
    except (TemplateError, TypeError) as error:
        raise InvalidInputError(f"{row.where}: the chat template refuses the conversation: {error}") from error
    return made["assistant_masks"] if marks else made


def _dicts(turns: str | list[Message] | None) -> list[dict[str, Any]]:
    return [turn.model_dump(exclude_unset=True) for turn in turns] if isinstance(turns, list) else []


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with; a template may write a prompt's end differently once an answer follows."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
