"""Trains the tiny base model of recipes/countdown*.yaml from generated walks: `make base-model`.

words.py is its tokenizer, walks.py its texts, model.py the decoder, gates.py what it must be able to do. Matrices are
trained with Muon, the rest with AdamW; the rate falls to zero along a cosine; the loss is on all that follows a prompt.
A step takes one batch of each mode.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch
from gates import report
from model import Decoder, Shape, load_model, save_model
from torch import Tensor
from torch.nn import functional
from walks import Mixture, exploration, solution
from words import EOS, IDS, PIECES, encode, save_tokenizer

IGNORED = -100
POOL = {"solution": 8000, "exploration": 2000}
"""Texts made at a time, by mode."""

Row = tuple[list[int], int]
"""Token ids of a text, and how many of them are its prompt."""


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

    def __init__(self, model: Decoder, mixture: Mixture, num_tokens: int, rate: float, rng: random.Random) -> None:
        self.model = model
        self._mixture = mixture
        self._num_tokens = num_tokens
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
            self._queues[kind] = batches(rows, self._num_tokens // 2, self._rng)
        loss = loss_of(self.model, self._queues[kind].pop())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()


def scale_at(step: int, num_steps: int) -> float:
    """Fifty steps of warm-up under a cosine to zero."""
    return min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / num_steps))


def arguments() -> argparse.Namespace:
    """What the command line says; the defaults made the shipped model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/countdown-base"))
    parser.add_argument("--start", type=Path, help="a model to go on from, with new optimisers")
    parser.add_argument("--steps", type=int, default=5000, help="optimiser steps")
    parser.add_argument("--tokens", type=int, default=4096, help="padded tokens a step, half of them of each mode")
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 4], help="numbers in a problem")
    parser.add_argument("--skill", type=float, nargs="+", default=[0.2, 0.3], help="share of skilled answers, by size")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--rate", type=float, default=0.02, help="of Muon; AdamW's is a quarter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=500, help="steps between saves, each with its measurements")
    return parser.parse_args()


def main() -> None:
    """Trains, measures, saves."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    shape = Shape(len(PIECES), args.width, args.hidden, args.layers, args.width // 32)
    model = load_model(args.start) if args.start else Decoder(shape)
    print(f"{sum(weight.numel() for weight in model.parameters())} parameters", flush=True)
    mixture = Mixture(sizes=tuple(args.sizes), skill=tuple(args.skill))
    learner = Learner(model, mixture, args.tokens, args.rate, random.Random(args.seed))
    began = time.monotonic()
    for step in range(args.steps):
        losses = learner.step(scale_at(step, args.steps))
        if (step + 1) % 100 == 0:
            told = " ".join(f"{loss:.3f}" for loss in losses)
            print(f"step {step + 1} loss {told} {time.monotonic() - began:.0f} s", flush=True)
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            save_model(model, args.out)
            save_tokenizer(args.out)
            print(report(model, args.sizes), flush=True)


if __name__ == "__main__":
    main()
