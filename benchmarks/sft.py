"""Benches of supervised fine-tuning. Torch and DeepSpeed are imported where one is measured: sft_step.py."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from benchmarks.bench import Arms, Bench, Direction


def _against_trl(packing: str) -> AbstractContextManager[Arms]:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from benchmarks import sft_step  # noqa: PLC0415

    return sft_step.against_trl(packing)


def _packed_against_padded() -> AbstractContextManager[Arms]:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from benchmarks import sft_step  # noqa: PLC0415

    return sft_step.packed_against_padded()


BENCHES = (
    Bench("sft-trl", "s/step", 1.0, Direction.DOWN, lambda: _against_trl("off")),
    Bench("sft-trl-packed", "s/step", 1.0, Direction.DOWN, lambda: _against_trl("best_fit")),
    Bench("sft-packing", "s/step", 1.0, Direction.DOWN, _packed_against_padded),
)
