from __future__ import annotations

import pytest

from retrograde.core.policy import Prompt
from retrograde.runtime.errors import InvalidInputError
from services.inference.words import Words, cut_at_stop
from tests.unit.inference.fakes_inference import VOCABULARY, FakeTokenizer


def _ids(*tokens: str) -> list[int]:
    return [VOCABULARY.index(token) for token in tokens]


def test_a_text_prompt_is_encoded_with_what_was_begun() -> None:
    """Text and its beginning are one string ("1" + "2" is the token "12"), with the model's special tokens."""
    tokenizer = FakeTokenizer()
    tokenizer_ids = tokenizer.encode("12a", add_special_tokens=True)
    assert Words(tokenizer).encode(Prompt("12", begun="a")) == tokenizer_ids == _ids("<eos>", "12", "a")


def test_a_chat_prompt_is_rendered_by_the_template_and_continued() -> None:
    """The template's text is followed by the assistant's beginning, without a second set of special tokens."""
    assert Words(FakeTokenizer()).encode(Prompt("a", chat=True, begun="b")) == _ids("a", "\n", "b")


def test_a_chat_prompt_needs_a_template() -> None:
    """A model without a chat template refuses chat prompts by name."""
    tokenizer = FakeTokenizer()
    tokenizer.chat_template = None
    with pytest.raises(InvalidInputError, match=r"^chat: "):
        Words(tokenizer).encode(Prompt("a", chat=True))


def test_decoding_continues_the_prompt() -> None:
    """The text of completion tokens keeps a leading space, and leaves out special tokens."""
    assert Words(FakeTokenizer()).decode(_ids("b", "a"), _ids(" a", "\n", "<eos>")) == " a\n"


def test_a_one_character_stop_is_found_by_token_id() -> None:
    """Every token that contains the character, and no other, stands for it."""
    assert Words(FakeTokenizer()).stop_ids(["\n", "1"]) == tuple(_ids("\n", ".\n", "12", "1"))


@pytest.mark.parametrize("stop", ["a\n", " ", "é", "z"])
def test_other_stops_are_left_to_the_text(stop: str) -> None:
    """Longer stops, spaces, non-ASCII and characters no token holds cannot be found by token id."""
    assert Words(FakeTokenizer()).stop_ids(["\n", stop]) is None


def test_no_stops_need_no_text() -> None:
    """Without stop strings the ids are an empty tuple, not None."""
    assert Words(FakeTokenizer()).stop_ids([]) == ()


@pytest.mark.parametrize(("include", "expected"), [(True, "one.\n"), (False, "one.")], ids=["kept", "dropped"])
def test_text_is_cut_at_the_first_stop(*, include: bool, expected: str) -> None:
    """The stop that appears first ends the text, itself kept or dropped as asked."""
    assert cut_at_stop("one.\n\ntwo;", [";", "\n"], include=include) == expected
