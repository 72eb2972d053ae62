"""The same batch through our step and through TRL's SFTTrainer: the same loss, accuracy and gradient."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from services.trainer.job.data import LossOn, tokenise
from services.trainer.job.packing import Packing, collate_rows, lay_out
from services.trainer.job.rows import Row
from services.trainer.job.sft_loop import accumulate

pytestmark = pytest.mark.engine
WORDS = ["<eos>", "user", "bot", *"abcdefghij"]
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}bot {% generation %}{{ m['content'] }} <eos>"
    "{% endgeneration %}{% else %}user {{ m['content'] }} <eos>{% endif %} {% endfor %}"
    "{% if add_generation_prompt %}bot {% endif %}"
)
TEXTS = ["a b c", "d", "e f g h i j a b", "c d e f", "g h", "i j a b c d"]


def tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, chat_template=TEMPLATE)
    fast.add_special_tokens({"eos_token": WORDS[0]})
    return fast


def strings() -> list[dict[str, Any]]:
    return [{"prompt": f"{text} user ", "completion": other} for text, other in zip(TEXTS, TEXTS[::-1], strict=True)]


def conversations() -> list[dict[str, Any]]:
    pairs = zip(TEXTS, [*TEXTS[1:], "a"], strict=True)
    return [{"messages": [*_turns(text, other), *_turns(other, "j")]} for text, other in pairs]


def turns() -> list[dict[str, Any]]:
    return [{"prompt": _turns(text, "b")[:1], "completion": _turns("", text[::-1])[1:]} for text in TEXTS]


def texts() -> list[dict[str, Any]]:
    return [{"text": text} for text in TEXTS]


def _turns(asked: str, answered: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def model() -> LlamaForCausalLM:
    torch.manual_seed(2)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=64, initializer_range=0.2, eos_token_id=0, **shape)
    )


@dataclass(frozen=True)
class Alone:
    """What our step asks of the model in training, without DeepSpeed around it."""

    module: LlamaForCausalLM

    def logits(self, tokens: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
        made: torch.Tensor = self.module(input_ids=tokens, position_ids=positions, use_cache=False).logits
        return made

    def accumulate(self, loss: torch.Tensor) -> None:
        torch.autograd.backward(loss)


@dataclass(frozen=True)
class Step:
    loss: float
    accuracy: float
    gradient: torch.Tensor


def ours(rows: list[dict[str, Any]], loss_on: LossOn, packing: Packing) -> Step:
    """In several micro-batches."""
    words, learner = tokenizer(), Alone(model())
    examples = [tokenise(words, Row.model_validate(row), loss_on) for row in rows]
    total, sums = sum(example.num_trained for example in examples), torch.zeros(2, dtype=torch.float64)
    for group in lay_out([len(e.tokens) for e in examples], range(len(rows)), 40, packing, in_one_row=False):
        batch = collate_rows([[examples[i] for i in row] for row in group], torch.device("cpu"))
        sums += accumulate(learner, batch, total)  # type: ignore[arg-type]
    return Step(float(sums[0]), float(sums[1]), _gradient(learner.module))


def theirs(rows: list[dict[str, Any]], folder: Path, **settings: object) -> Step:
    """All rows in one batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the versions of packages TRL is not asked to use
        from datasets import Dataset  # noqa: PLC0415
        from trl import SFTConfig, SFTTrainer  # noqa: PLC0415

        arguments = SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=len(rows),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            **settings,
        )
        module = model()
        trainer = SFTTrainer(module, arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer())
        module.train()
        batches, num_items = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, torch.device("cpu"))
        loss = trainer.training_step(module, batches[0], num_items_in_batch=num_items)
        return Step(float(loss), trainer._metrics["train"]["mean_token_accuracy"][0], _gradient(module))


def _gradient(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    ("rows", "loss_on", "settings"),
    [
        (strings, "completion", {"completion_only_loss": True}),
        (strings, "all", {"completion_only_loss": False}),
        (texts, "all", {}),
        (conversations, "all", {}),
        (conversations, "assistant", {"assistant_only_loss": True}),
        (turns, "completion", {"completion_only_loss": True}),
        (turns, "all", {"completion_only_loss": False}),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
@pytest.mark.parametrize("packing", ["off", "best_fit"])
def test_loss_and_gradient_are_those_of_trl(
    rows: Any, loss_on: LossOn, settings: dict[str, object], packing: Packing, tmp_path: Path
) -> None:
    """Each format and setting both have, packed by both or by none, to 1e-5."""
    packed = {"packing": packing != "off", "max_length": 64}

    one, other = ours(rows(), loss_on, packing), theirs(rows(), tmp_path, **settings, **packed)

    assert one.loss == pytest.approx(other.loss, abs=1e-5)
    assert one.accuracy == pytest.approx(other.accuracy, abs=1e-6)
    torch.testing.assert_close(one.gradient, other.gradient, rtol=0, atol=1e-5)
    assert other.gradient.abs().max() > 0.01
