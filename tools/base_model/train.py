"""Trains a tiny base model from generated walks: that of recipes/countdown.yaml (`make base-model`), or of another.

words.py is its tokenizer, walks.py its texts, model.py the decoder, gates.py what it must be able to do. Matrices are
trained with Muon, the rest with AdamW; the rate falls to zero along a cosine; the loss is on all that follows a prompt.
A step takes one batch of each mode.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from gates import report
from model import Decoder, Shape, save_model
from torch import Tensor
from torch.nn import functional
from walks import Mixture, exploration, solution
from words import EOS, IDS, PIECES, encode, save_tokenizer

IGNORED = -100
POOL = {"solution": 8000, "exploration": 2000}
"""Texts made at a time, by mode."""

TOKENS = 4096
"""Padded tokens a step, half of them of each mode."""

WARMUP, SAVE_EVERY = 50, 500

Row = tuple[list[int], int]
"""Token ids of a text, and how many of them are its prompt."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps with one pair of optimisers; the cosine ends at `horizon`, which may lie beyond the last step."""

    steps: int
    horizon: int
    rate: float
    """Of Muon at its highest; AdamW's is a quarter."""
    seed: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a shipped model was trained on, and how."""

    mixture: Mixture
    stages: tuple[Stage, ...]


RECIPES = {
    "countdown-base": Recipe(Mixture(sizes=(3,), skill=(0.15,)), (Stage(1500, 1500, 0.02, 0),)),
    "countdown4-base": Recipe(
        Mixture(sizes=(3, 4), skill=(0.2, 0.3)), (Stage(2500, 5000, 0.02, 0), Stage(700, 700, 0.008, 1))
    ),
}


def pool(count: int, mixture: Mixture, rng: random.Random, kind: str) -> list[Row]:
    """`count` new texts of a mode."""
    make = solution if kind == "solution" else exploration
    rows = []
    for _ in range(count):
        prompt, text = make(mixture, rng)
        ids = encode(prompt)
        rows.append((ids + encode(text.removesuffix(EOS)) + [IDS[EOS]], len(ids)))
    return rows


def batches(rows: list[Row], num_tokens: int, rng: random.Random) -> list[list[Row]]:
    """Rows of like length together, about `num_tokens` padded tokens a batch, in random order."""
    out, part = [], []
    for row in sorted(rows, key=lambda row: len(row[0]) + rng.random()):
        part.append(row)
        if len(part) * len(row[0]) >= num_tokens:
            out.append(part)
            part = []
    rng.shuffle(out)
    return out


def loss_of(model: Decoder, rows: list[Row]) -> Tensor:
    """Mean cross-entropy [nats per token] over what follows the prompts."""
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    wanted = torch.full((len(rows), longest), IGNORED)
    for index, (ids, begin) in enumerate(rows):
        tokens[index, : len(ids)] = torch.tensor(ids)
        wanted[index, begin - 1 : len(ids) - 1] = torch.tensor(ids[begin:])
    states, _ = model(tokens)
    kept = wanted != IGNORED
    return functional.cross_entropy(model.logits(states[kept]), wanted[kept])


class Learner:
    """The model, its two optimisers, and the texts that wait to be learnt."""

    def __init__(self, model: Decoder, mixture: Mixture, rate: float, rng: random.Random) -> None:
        self.model = model
        self._mixture = mixture
        self._rng = rng
        self._queues: dict[str, list[list[Row]]] = {kind: [] for kind in POOL}
        weights = dict(model.named_parameters())
        matrices = {name for name, weight in weights.items() if weight.ndim > 1 and "embed" not in name}
        self._optimisers: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Muon([weights[name] for name in weights if name in matrices], rate, weight_decay=0.01), rate),
            (
                torch.optim.AdamW(
                    [weights[name] for name in weights if name not in matrices],
                    rate / 4,
                    betas=(0.9, 0.95),
                    weight_decay=0.0,
                ),
                rate / 4,
            ),
        ]

    def step(self, scale: float) -> list[float]:
        """One update at `scale` times the rates; the loss of each mode [nats per token]."""
        losses = [self._backward(kind) for kind in POOL]
        for optimiser, rate in self._optimisers:
            optimiser.param_groups[0]["lr"] = rate * scale
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return losses

    def _backward(self, kind: str) -> float:
        if not self._queues[kind]:
            rows = pool(POOL[kind], self._mixture, self._rng, kind)
            self._queues[kind] = batches(rows, TOKENS // 2, self._rng)
        loss = loss_of(self.model, self._queues[kind].pop())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()


def scale_at(step: int, horizon: int) -> float:
    """Fifty steps of warm-up under a cosine that ends at `horizon`."""
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / horizon))


def run(model: Decoder, recipe: Recipe, stage: Stage, out: Path) -> None:
    """One stage with new optimisers; saves and measures at its end and every `SAVE_EVERY` steps."""
    learner = Learner(model, recipe.mixture, stage.rate, random.Random(stage.seed))
    began = time.monotonic()
    for step in range(stage.steps):
        losses = learner.step(scale_at(step, stage.horizon))
        if (step + 1) % 100 == 0:
            told = " ".join(f"{loss:.3f}" for loss in losses)
            print(f"step {step + 1} loss {told} {time.monotonic() - began:.0f} s", flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == stage.steps:
            save_model(model, out)
            save_tokenizer(out)
            print(report(model, recipe.mixture.sizes), flush=True)


def main() -> None:
    """Trains, measures, saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=sorted(RECIPES), default="countdown-base")
    parser.add_argument("--out", type=Path, help="default: models/MODEL")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    recipe = RECIPES[args.model]
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = Decoder(Shape(len(PIECES)))
    print(f"{sum(weight.numel() for weight in model.parameters())} parameters", flush=True)
    for stage in recipe.stages:
        print(stage, flush=True)
        run(model, recipe, stage, args.out or Path("models", args.model))


if __name__ == "__main__":
    main()
