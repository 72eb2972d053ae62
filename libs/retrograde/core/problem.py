"""What is asked, how an answer is judged, and what it all cost."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Verdict(enum.Enum):
    """The outcome of grading. A timeout or an error is never `INCORRECT`."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNPARSABLE = "unparsable"
    TIMEOUT = "timeout"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Grade:
    """A verdict, one line why, and the two normal forms compared ("" where there was none).

    `path` names the comparison that decided ("identical", "rational", "numeric", "words", ...): a label for metrics.
    """

    verdict: Verdict
    reason: str = ""
    answer: str = ""
    expected: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its verifiable answer; `statement` is shown to the policy, `gold` never is."""

    id: str
    task: str
    statement: str
    gold: str
    source: str = ""
    level: str = ""


@dataclass(slots=True)
class Cost:
    """What a piece of work cost; measured, never estimated."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    verifier_calls: int = 0
    wall_seconds: float = 0.0
    accelerator_seconds: float = 0.0
    model_calls: int = 0

    def add(self, other: Cost) -> None:
        """Adds `other` to this ledger in place."""
        self.prompt_tokens += other.prompt_tokens
        self.generated_tokens += other.generated_tokens
        self.verifier_calls += other.verifier_calls
        self.wall_seconds += other.wall_seconds
        self.accelerator_seconds += other.accelerator_seconds
        self.model_calls += other.model_calls


@dataclass(slots=True)
class Provenance:
    """Where an artifact came from: enough to make it again."""

    run_id: str = ""
    recipe_hash: str = ""
    code_version: str = ""
    policy_version: int = 0
    seed: int = 0
    parent_keys: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
