"""Trains the tiny base model of recipes/countdown.yaml from generated walks: `make base-model`.

words.py is its tokenizer, walks.py its texts, model.py the decoder, gates.py what it must be able to do. Matrices are
trained with Muon, the rest with AdamW; the rate falls to zero along a cosine; the loss is on all that follows a prompt.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch
from gates import report
from model import Decoder, Shape, save_model
from torch import Tensor
from torch.nn import functional
from walks import Mixture, exploration, solution
from words import PIECES, encode, save_tokenizer

IGNORED = -100
Row = tuple[list[int], int]


def pool(count: int, mixture: Mixture, rng: random.Random, kind: str) -> list[Row]:
    """`count` texts as (ids, length of the prompt)."""
    make = solution if kind == "solution" else exploration
    rows = []
    for _ in range(count):
        prompt, text = make(mixture, rng)
        ids = encode(prompt)
        rows.append((ids + encode(text.removesuffix("<eos>")) + [0], len(ids)))
    return rows


def batches(rows: list[Row], num_tokens: int, rng: random.Random) -> list[list[Row]]:
    """Rows of like length together, about `num_tokens` padded tokens a batch, in random order."""
    rows = sorted(rows, key=lambda row: len(row[0]) + rng.random())
    out, part = [], []
    for row in rows:
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


def main() -> None:
    """Trains, measures, saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/countdown-base"))
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps")
    parser.add_argument("--tokens", type=int, default=4096, help="padded tokens a step, half of them of each mode")
    parser.add_argument("--sizes", type=int, nargs="+", default=[3])
    parser.add_argument("--skill", type=float, nargs="+", default=[0.15])
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    mixture = Mixture(sizes=tuple(args.sizes), skill=tuple(args.skill))
    model = Decoder(Shape(len(PIECES), args.width, args.hidden, args.layers, args.width // 32))
    print(f"{sum(weight.numel() for weight in model.parameters())} parameters", flush=True)
    matrices = [w for n, w in model.named_parameters() if w.ndim == 2 and "embed" not in n]
    others = [w for n, w in model.named_parameters() if w.ndim != 2 or "embed" in n]
    optimisers = [
        torch.optim.Muon(matrices, lr=args.rate, weight_decay=0.01),
        torch.optim.AdamW(others, lr=args.rate * 0.25, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
    queues: dict[str, list[list[Row]]] = {"solution": [], "exploration": []}
    began = time.monotonic()
    for step in range(args.steps):
        scale = min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        losses = []
        for kind, queue in queues.items():
            if not queue:
                queue.extend(
                    batches(pool(8000 if kind == "solution" else 2000, mixture, rng, kind), args.tokens // 2, rng)
                )
            loss = loss_of(model, queue.pop())
            loss.backward()
            losses.append(loss.item())
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * scale
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {losses[0]:.3f} {losses[1]:.3f} {time.monotonic() - began:.0f}s", flush=True)
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            save_model(model, args.out)
            save_tokenizer(args.out)
            print(report(model, args.sizes), flush=True)


if __name__ == "__main__":
    main()
