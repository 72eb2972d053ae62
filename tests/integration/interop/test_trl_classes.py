"""Our rows in the hands of TRL's own functions and SFTTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from interop_packages import run_program
from tiny_world_of_interop import WORDS

ANSWERED = [WORDS.index(letter) for letter in "aabb"]
ASKED = [WORDS.index(letter) for letter in "ab:"]
END = 0
LEFT_OUT = [-100] * len(ASKED)


@pytest.fixture(scope="module", name="found")
def found_by_trl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("sft")
    return run_program("program_trl.py", folder)


def test_trl_tells_text_from_conversations(found: dict[str, Any]) -> None:
    """Lines of chat tasks, messages and prompts of a chat task are conversational, a text line is not."""
    assert found["conversational"] == {"text": False, "chat": True, "messages": True, "prompt": True}


def test_sft_trains_on_the_completion_of_a_text_line(found: dict[str, Any]) -> None:
    """SFTTrainer's tokens are prompt, completion and end token; its labels leave the prompt out."""
    made = found["prepared"]["text"]
    assert made["input_ids"] == [*ASKED, *ANSWERED, END]
    assert made["labels"] == [*LEFT_OUT, *ANSWERED, END]


def test_sft_trains_on_the_answer_of_a_chat_line(found: dict[str, Any]) -> None:
    """The model's chat template is applied, and the user's turn is left out by the labels."""
    made = found["prepared"]["chat"]
    assert made["input_ids"][:7] == [*ASKED, *ANSWERED]
    assert made["labels"][:7] == [*LEFT_OUT, *ANSWERED]


def test_messages_are_one_conversation(found: dict[str, Any]) -> None:
    """The template gives them the tokens of the same line as prompt and completion."""
    assert found["prepared"]["messages"]["input_ids"][:7] == [*ASKED, *ANSWERED]


def test_rows_come_back_from_a_data_set(found: dict[str, Any]) -> None:
    """A row that went through `datasets` is read as the line it was."""
    assert found["read"] == [{"id": "s", "prompt": "ab", "completion": "aabb", "chat": True}]
