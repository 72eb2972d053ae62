"""Which tokens carry loss, token by token."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.data import LossOn, build_dataset, kept_tokens, tokenise
from services.trainer.job.rows import Row, Segment

WORDS = ["<eos>", "Q", ":", "3", "*", "7", "=", "21", ",", "no", "yes", "wait", "back", ".", "go"]
END = WORDS[0]


@pytest.fixture(name="tokenizer")
def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word or mark; blanks are no tokens."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    chat = "{% for m in messages %}Q {{ m['content'] }} {% endfor %}go "
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, chat_template=chat)


def segment(kind: str, text: str, *, on_path: bool = True, keep_from: int | None = None) -> Segment:
    """A sentence."""
    return Segment(text=text, kind=kind, on_path=on_path, keep_from=keep_from)


def row(*segments: Segment, chat: bool = False) -> Row:
    """A row whose completion is its segments."""
    completion = "".join(each.text for each in segments)
    return Row(line=1, prompt="Q :", completion=completion, chat=chat, segments=list(segments))


WRONG_STEP = segment("step", " 3 * 7 = 21 , no .", on_path=False, keep_from=11)
SOLUTION = (WRONG_STEP, segment("doubt", " wait ."), segment("return", " back ."), segment("step", " 7 * 3 yes"))
COMPLETION = ["3", "*", "7", "=", "21", ",", "no", ".", "wait", ".", "back", ".", "7", "*", "3", "yes", "<eos>"]


@pytest.mark.parametrize(
    ("loss_on", "trained"),
    [
        ("all", ["Q", ":", *COMPLETION]),
        ("completion", COMPLETION),
        ("right_path", [",", "no", ".", "wait", ".", "back", ".", "7", "*", "3", "yes", "<eos>"]),
    ],
)
def test_loss_falls_on_exactly_the_tokens_of_the_setting(
    tokenizer: PreTrainedTokenizerFast, loss_on: LossOn, trained: list[str]
) -> None:
    """All; the completion with its end token; or that without the wrong step up to its verdict."""
    example = tokenise(tokenizer, row(*SOLUTION), loss_on)

    assert [WORDS[token] for token in example.tokens] == ["Q", ":", *COMPLETION]
    assert [WORDS[token] for token, weight in zip(example.tokens, example.weights, strict=True) if weight] == trained


def test_a_wrong_step_without_keep_from_is_masked_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    """Only the right step after it carries loss."""
    wrong = segment("step", " 3 * 7 .", on_path=False)

    example = tokenise(tokenizer, row(wrong, segment("step", " 7 yes")), "right_path")

    assert example.weights.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_returns_and_doubts_of_a_wrong_branch_carry_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    """What is masked is steps; off the path, words of reflection are still taught."""
    reflection = (segment("doubt", " wait", on_path=False), segment("return", " back", on_path=False))

    assert tokenise(tokenizer, row(*reflection), "right_path").weights.tolist() == [0, 0, 1, 1, 1]


def test_a_token_across_the_edge_is_masked() -> None:
    """A token that has one masked character carries no loss; one that has none does."""
    kept = np.array([False, False, True, True, True])

    assert kept_tokens([(0, 2), (1, 3), (2, 4), (4, 5)], kept).tolist() == [0, 0, 1, 1]


def test_a_chat_row_goes_through_the_template(tokenizer: PreTrainedTokenizerFast) -> None:
    """The prompt becomes a user turn followed by the start of the answer, none of it trained on."""
    example = tokenise(tokenizer, row(segment("step", " yes"), chat=True), "completion")

    assert [WORDS[token] for token in example.tokens] == ["Q", "Q", ":", "go", "yes", "<eos>"]
    assert example.weights.tolist() == [0, 0, 0, 0, 1, 1]


def test_segments_that_do_not_spell_the_completion_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    """A mask would fall on the wrong words: the row is named."""
    broken = Row(line=9, prompt="Q", completion="3 * 7", segments=[segment("step", "3 *")])

    with pytest.raises(InvalidInputError, match="line 9: segments"):
        tokenise(tokenizer, broken, "right_path")


def test_too_long_rows_are_counted_and_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    """Of a short and a long row under a limit of six tokens, the short one stays."""
    rows = [row(segment("step", " 3 yes")), row(*SOLUTION)]

    dataset = build_dataset(tokenizer, iter(rows), "all", max_tokens=6)

    assert (len(dataset.examples), dataset.num_too_long) == (1, 1)


def test_a_dataset_without_a_usable_row_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    """There is nothing to train on: the message names the limit."""
    with pytest.raises(InvalidInputError, match="max_tokens = 6"):
        build_dataset(tokenizer, iter([row(*SOLUTION)]), "all", max_tokens=6)
