"""A random two-layer Llama with a word tokenizer, written as a Hugging Face directory without torch."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NUM_LAYERS, HIDDEN, HEAD, INNER, LENGTH = 2, 128, 32, 256, 512
WORDS = (
    ["<eos>", "<unk>", "<|user|>", "<|assistant|>", "\n"]
    + [space + str(number) for number in range(100) for space in ("", " ")]
    + [space + letter for letter in string.ascii_letters for space in ("", " ")]
    + [space + sign for sign in "+-*/=,:." for space in ("", " ")]
)
CHAT_TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_model(folder: Path, seed: int) -> Path:
    """Writes the model with weights drawn from `seed`; returns `folder`."""
    folder.mkdir(parents=True)
    _write_tokenizer(folder)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(WORDS),
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": NUM_LAYERS,
        "num_attention_heads": HIDDEN // HEAD,
        "num_key_value_heads": HIDDEN // HEAD,
        "head_dim": HEAD,
        "max_position_embeddings": LENGTH,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "eos_token_id": 0,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_weights(np.random.default_rng(seed)), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    ones = np.ones(HIDDEN, np.float32)
    weights = {"model.embed_tokens.weight": matrix(len(WORDS), HIDDEN) * 3, "model.norm.weight": ones}
    for layer in range(NUM_LAYERS):
        at = f"model.layers.{layer}"
        weights |= {f"{at}.self_attn.{part}_proj.weight": matrix(HIDDEN, HIDDEN) for part in "qkvo"}
        weights |= {f"{at}.mlp.{part}_proj.weight": matrix(INNER, HIDDEN) for part in ("gate", "up")}
        weights |= {f"{at}.mlp.down_proj.weight": matrix(HIDDEN, INNER)}
        weights |= {f"{at}.{norm}_layernorm.weight": ones for norm in ("input", "post_attention")}
    return weights


def _write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))  # noqa: S106
    tokenizer.add_special_tokens(["<eos>", "<unk>", "<|user|>", "<|assistant|>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n| ?[0-9]+| ?[A-Za-z]| ?[^\sA-Za-z0-9]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
