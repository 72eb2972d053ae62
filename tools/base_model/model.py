"""A Llama-shaped decoder in plain torch, whose weights are named as Hugging Face names them, and its sampler.

Shapes: B sequences, T tokens, D width, H heads, E = D / H. Positions count from 0 in every row; rows are padded on
the right, which a causal model never sees.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

END = 0
"""Id of the end token, which also pads."""

BATCH = 512
"""Rows sampled together."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's size."""

    vocab: int
    width: int = 128
    hidden: int = 384
    layers: int = 3
    heads: int = 4
    context: int = 512
    theta: float = 10000.0


Pair = tuple[Tensor, Tensor]
Cache = list[Pair]
"""Keys and values [B, H, T, E] of each layer."""


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, turn: Pair, past: Pair | None) -> tuple[Tensor, Pair]:
        """[B, T, D] -> [B, T, D], and keys and values with those of the past before them."""
        q, k, v = self._split(self.q_proj(x)), self._split(self.k_proj(x)), self._split(self.v_proj(x))
        q, k = rotate(q, turn), rotate(k, turn)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out, (k, v)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, eps=1e-5)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=1e-5)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor, turn: Pair, past: Pair | None) -> tuple[Tensor, Pair]:
        """[B, T, D] -> [B, T, D], and this layer's keys and values."""
        mixed, pair = self.self_attn(self.input_layernorm(x), turn, past)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), pair


class Decoder(nn.Module):
    """The language model; the embedding is also the output matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-5)
        half = shape.width // shape.heads // 2
        angles = torch.arange(shape.context)[:, None] * shape.theta ** (-torch.arange(half) / half)
        self.cos = nn.Buffer(angles.cos().repeat(1, 2), persistent=False)
        self.sin = nn.Buffer(angles.sin().repeat(1, 2), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=_deviation(name, weight.shape[1]))

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Token ids [B, T] after `cache` -> final states [B, T, D] and the longer cache."""
        start = cache[0][0].shape[2] if cache else 0
        turn = self.cos[start : start + tokens.shape[1]], self.sin[start : start + tokens.shape[1]]
        x, kept = self.embed_tokens(tokens), []
        for index, block in enumerate(self.layers):
            x, pair = block(x, turn, cache[index] if cache else None)
            kept.append(pair)
        return self.norm(x), kept

    def logits(self, states: Tensor) -> Tensor:
        """[..., D] -> [..., V]."""
        return functional.linear(states, self.embed_tokens.weight)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding as Llama lays it out: the second half of E is the partner of the first."""
    first, second = x.chunk(2, -1)
    return x * turn[0] + torch.cat([-second, first], -1) * turn[1]


def _deviation(name: str, fan_in: int) -> float:
    """Of a matrix's first weights; smaller where it writes to the residual stream."""
    if "embed" in name:
        return 0.02
    return (0.5 if "o_proj" in name or "down_proj" in name else 1.0) / math.sqrt(fan_in)


def sample(model: Decoder, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
    """One continuation per prompt at temperature 1, with its end token; prompts of one length share a batch."""
    out: list[list[int]] = [[] for _ in prompts]
    for length in sorted({len(prompt) for prompt in prompts}):
        members = [index for index, prompt in enumerate(prompts) if len(prompt) == length]
        for at in range(0, len(members), BATCH):
            part = members[at : at + BATCH]
            drawn = _sample(model, torch.tensor([prompts[index] for index in part]), max_tokens)
            for index, ids in zip(part, drawn, strict=True):
                out[index] = ids
    return out


@torch.no_grad()
def _sample(model: Decoder, tokens: Tensor, max_tokens: int) -> list[list[int]]:
    """Rows that have ended leave the batch."""
    out: list[list[int]] = [[] for _ in range(len(tokens))]
    rows = torch.arange(len(tokens))
    states, cache = model(tokens)
    for _ in range(max_tokens):
        chosen = torch.multinomial(model.logits(states[:, -1]).softmax(-1), 1)[:, 0]
        for row, token in zip(rows.tolist(), chosen.tolist(), strict=True):
            out[row].append(token)
        live = chosen != END
        if not live.any():
            break
        if not live.all():
            rows, chosen, cache = rows[live], chosen[live], [(k[live], v[live]) for k, v in cache]
        states, cache = model(chosen[:, None], cache)
    return out


def save_model(model: Decoder, folder: Path) -> None:
    """Writes config.json and model.safetensors as `LlamaForCausalLM` reads them."""
    shape = model.shape
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "max_position_embeddings": shape.context,
        "rope_theta": shape.theta,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": END,
        "pad_token_id": END,
        "torch_dtype": "float32",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    generation = {"eos_token_id": END, "pad_token_id": END, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    weights = {f"model.{name}": weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load_model(folder: Path) -> Decoder:
    """The model that `save_model` wrote."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = Shape(
        config["vocab_size"],
        config["hidden_size"],
        config["intermediate_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["max_position_embeddings"],
    )
    model = Decoder(shape)
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): weight for name, weight in weights.items()})
    return model
