r"""The base model's tokenizer: one token per number, one per phrase, and the language of countdown.py byte for byte.

Numbers carry their leading space, phrases their line end; a number inside \boxed{} has no space and is a token of its
own. The text is cut by one regular expression, longest phrase first; what is outside the language is `<unk>`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from retrograde.tasks.countdown import MAX_VALUE, NO, TASK, YES

EOS, UNK = "<eos>", "<unk>"
MAX_TARGET = 100
SOLUTION = ".\nSolution:\n"
EXPLORATION = ".\nExploration:\n"
"""Begins a text with wrong turns: a mode of its own, in which the base learns the syntax and never answers."""

PHRASES = (
    "Numbers:",
    ", target:",
    SOLUTION,
    EXPLORATION,
    " +",
    " -",
    " *",
    " /",
    " =",
    ", left:",
    "\n",
    ", the target is",
    NO,
    YES,
    "}.\n",
    TASK.phrases.doubt,
    TASK.phrases.reassurance,
    TASK.phrases.go_back.partition("{")[0] + "had",
    TASK.phrases.restart.partition("{")[0] + "had",
    ".\n",
)
PIECES = (
    EOS,
    UNK,
    *PHRASES,
    *(f" {number}" for number in range(MAX_VALUE + 1)),
    *(str(number) for number in range(MAX_TARGET + 1)),
)
IDS = {piece: index for index, piece in enumerate(PIECES)}
_PATTERN = "|".join([*(re.escape(phrase) for phrase in sorted(PHRASES, key=len, reverse=True)), r" \d+", r"\d+"])
_SPLIT = re.compile(_PATTERN)


def encode(text: str) -> list[int]:
    """Token ids of a text of the language, as the saved tokenizer gives them. Raises KeyError outside of it."""
    return [IDS[piece] for piece in _SPLIT.findall(text)]


def decode(ids: list[int]) -> str:
    """The text of `ids`, up to the end token."""
    return "".join(PIECES[index] for index in ids).partition(EOS)[0]


def save_tokenizer(folder: Path) -> None:
    """Writes tokenizer.json and its configuration for Hugging Face's `PreTrainedTokenizerFast`."""
    tokenizer = Tokenizer(models.WordLevel(IDS, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([EOS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "pad_token": EOS,
        "unk_token": UNK,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
