"""How weights come from a trainer to the engine: the port. `weights.Checkpoints`, the object store, implements it.

    prepare   while requests run: fetch, check, whatever can be done before anybody has to wait
    load      with the engine stopped: one call in each of its processes, `Weights.method`
    settle    the weights are served: what was kept for going back may go

docs/weights.md tells what a direct path from the trainer's memory would have to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that can be put in place at any time, and again: by `method` of child.EngineChild, with `args`.

    `digest` identifies their content: equal digests, equal weights.
    """

    digest: str
    method: str
    args: tuple[str, ...]


class WeightTransport(Protocol):
    """Calls block: run them in a thread."""

    def prepare(self, key: str) -> Weights:
        """The weights published under `key`, whole and checked; they stay usable until another is settled.

        Raises:
            InvalidInputError: nothing is published there, or it is not of the served model.
            DataLossError: what arrived is not what was published.
        """

    def settle(self, weights: Weights) -> None:
        """`weights` are served from now on."""
