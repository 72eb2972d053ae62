"""TRL's formats: which tokens a conversation becomes under the model's template, and which of them carry loss."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.data import LossOn, tokenise
from services.trainer.job.rows import Row

WORDS = ["<eos>", "sys", "user", "bot", "be", "kind", "hi", "you", "bye", "now", "tool", "."]
HEAD = (
    "{% for m in messages %}{% if m['role'] == 'judge' %}{{ raise_exception('no judges') }}{% endif %}"
    "{% set role = {'system': 'sys', 'user': 'user', 'assistant': 'bot'}[m['role']] %}"
)
PLAIN = HEAD + "{{ role }} {{ m['content'] }} <eos> . {% endfor %}{% if add_generation_prompt %}bot {% endif %}"
MARKED = (
    HEAD + "{{ role }} {% if role == 'bot' %}{% generation %}{{ m['content'] }} <eos>{% endgeneration %}"
    "{% else %}{{ m['content'] }} <eos>{% endif %}. {% endfor %}{% if add_generation_prompt %}bot {% endif %}"
)
TURNS = [("system", "be kind"), ("user", "hi"), ("assistant", "hi you"), ("user", "bye"), ("assistant", "bye now")]
MESSAGES = [{"role": role, "content": content} for role, content in TURNS]
SPELT = "sys be kind <eos> . user hi <eos> . bot hi you <eos> . user bye <eos> . bot bye now <eos> ."


def tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """One token per word; blanks are none."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[10]))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=WORDS[0], chat_template=template)
    fast.add_special_tokens({"eos_token": WORDS[0]})
    return fast


def trained(row: Row, loss_on: LossOn, template: str | None = PLAIN) -> tuple[str, str]:
    """(all tokens, those that carry loss)."""
    example = tokenise(tokenizer(template), row, loss_on)
    words = [WORDS[token] for token in example.tokens]
    return " ".join(words), " ".join(w for w, weight in zip(words, example.weights, strict=True) if weight)


def row(**fields: object) -> Row:
    return Row.model_validate({"line": 3, **fields})


def test_messages_go_through_the_template_and_all_carry_loss() -> None:
    """The template's own tokens too; no end token is added to a conversation."""
    assert trained(row(messages=MESSAGES), "all") == (SPELT, SPELT)


@pytest.mark.parametrize("template", [PLAIN, MARKED])
def test_assistant_turns_carry_loss_with_their_end(template: str) -> None:
    """By the template's marks or by what each turn adds: the words and the end token, not what follows it."""
    assert trained(row(messages=MESSAGES), "assistant", template) == (SPELT, "hi you <eos> bye now <eos>")


def test_the_completion_of_messages_is_what_follows_the_prompt() -> None:
    """An earlier turn of the assistant is prompt; under `assistant` it is trained on as well."""
    pair = row(prompt=MESSAGES[:4], completion=MESSAGES[4:])

    assert trained(pair, "completion") == (SPELT, "bye now <eos> .")
    assert trained(pair, "assistant") == (SPELT, "hi you <eos> bye now <eos>")


def test_text_gets_its_end_token_once() -> None:
    """Added where it is missing, in text and in a completion of text."""
    for text in ("hi you", "hi you <eos>"):
        assert trained(row(text=text), "all") == ("hi you <eos>", "hi you <eos>")
        assert trained(row(prompt="bye", completion=text), "completion") == ("bye hi you <eos>", "hi you <eos>")


def test_fields_for_the_template_reach_it() -> None:
    """`tools` and `chat_template_kwargs` of the line are variables of the template."""
    template = "{% if tools %}tool {% endif %}{{ mood }} {{ messages[0]['content'] }}"
    fields = {"tools": [{"type": "function"}], "chat_template_kwargs": {"mood": "kind"}}

    assert trained(row(messages=MESSAGES[1:2], **fields), "all", template)[0] == "tool kind hi"


@pytest.mark.parametrize(
    ("fields", "loss_on", "said"),
    [
        ({"text": "hi"}, "completion", "'completion' needs another format; this one has all$"),
        ({"messages": MESSAGES}, "completion", "'completion' needs another format; this one has all, assistant"),
        ({"prompt": "a", "completion": "b"}, "assistant", "this one has all, completion, right_path"),
        ({"messages": MESSAGES}, "right_path", "'right_path' needs another format"),
        ({"messages": MESSAGES[:2]}, "assistant", "the assistant says nothing"),
        ({"messages": [{"role": "judge", "content": "no"}]}, "all", "the chat template refuses the conversation"),
    ],
)
def test_a_line_that_the_setting_does_not_fit_is_named(fields: dict[str, object], loss_on: LossOn, said: str) -> None:
    """The line, the setting, and what its format allows."""
    with pytest.raises(InvalidInputError, match=rf"^dataset: line 3: .*{said}"):
        trained(row(**fields), loss_on)


def test_a_template_that_rewrites_earlier_turns_needs_marks() -> None:
    """One that shows the last answer only does not tell where an earlier one stood."""
    forgetful = (
        "{% for m in messages %}{% if loop.last or m['role'] == 'user' %}{{ m['content'] }} {% endif %}{% endfor %}"
    )

    with pytest.raises(InvalidInputError, match=r"mark what the assistant says with \{% generation %\}"):
        trained(row(messages=MESSAGES), "assistant", forgetful)


def test_a_tokenizer_without_a_template_takes_no_conversations() -> None:
    """The message names the checkpoint and both ways out."""
    with pytest.raises(InvalidInputError, match=r"no chat_template; add one to tokenizer_config\.json, or give"):
        trained(row(messages=MESSAGES), "all", None)
