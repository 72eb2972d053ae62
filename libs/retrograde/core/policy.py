"""What the algorithms ask of a model and of a judge, as Protocols: gRPC clients or scripted fakes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrograde.core.problem import Grade, Problem


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is put before the policy: `text`, as a chat turn if `chat`, and what the assistant has `begun` to answer."""

    text: str
    chat: bool = False
    begun: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. `n` siblings share one request; stop strings are kept if `include_stop`."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    include_stop: bool = True
    seed: int | None = None
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample: `token_ids` int32 [T], `logprobs` float32 [T] (empty unless asked for), their sum in nats."""

    text: str
    token_ids: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    logprobs: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    logprob: float = 0.0
    finish_reason: str = "stop"  # "stop": a stop string or the end token; "length": cut at max_tokens

    @property
    def num_tokens(self) -> int:
        """Tokens generated, the end token included."""
        return len(self.token_ids)


class InFlight(enum.Enum):
    """What becomes of the requests that run when the policy's weights are swapped; none fails."""

    FINISH = "finish"  # they end first, under the old weights
    CONTINUE = "continue"  # they go on under the new weights, their prefixes computed anew
    BEGIN_AGAIN = "begin_again"  # they are aborted and begin again under the new weights


@dataclass(frozen=True, slots=True)
class Generation:
    """The n completions of one request, and which policy gave them at what cost.

    It began under `policy_version`; `last_policy_version`, if not 0, is the one it ended under.
    """

    completions: tuple[Completion, ...]
    policy_version: int = 0
    prompt_token_ids: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    cached_tokens: int = 0
    engine_seconds: float = 0.0
    last_policy_version: int = 0

    @property
    def policy_versions(self) -> tuple[int, int]:
        """The oldest and the newest version that may have drawn one of its tokens."""
        return self.policy_version, self.last_policy_version or self.policy_version


class Policy(Protocol):
    """A language model that can be sampled."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        """Draws `sampling.n` completions of `prompt`."""


class Verifier(Protocol):
    """A judge of completions."""

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """One grade per (problem, completion), in order."""
