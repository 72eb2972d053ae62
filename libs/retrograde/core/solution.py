"""A walk over a tree, and the same walk in words.

SearchTree -> SearchTrace (which node is told next, where it turns back) -> Solution (sentences that know their node).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from retrograde.core.problem import Problem, Provenance


class MoveKind(enum.Enum):
    """Down to a child, or back to an ancestor."""

    STEP = "step"
    BACKTRACK = "backtrack"


@dataclass(frozen=True, slots=True)
class Move:
    """Go to `node`."""

    kind: MoveKind
    node: int


@dataclass(frozen=True, slots=True)
class SearchTrace:
    """A walk from the root; `terminals` are told in this order, the correct one last."""

    tree_key: str
    moves: tuple[Move, ...]
    terminals: tuple[int, ...]

    @property
    def num_backtracks(self) -> int:
        """Returns to an ancestor."""
        return sum(move.kind is MoveKind.BACKTRACK for move in self.moves)


class SentenceKind(enum.Enum):
    """What a sentence does."""

    STEP = "step"
    DOUBT = "doubt"
    RETURN = "return"
    REASSURANCE = "reassurance"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A piece of a solution; `node` is what it tells, `on_path` is False on the steps of a wrong branch."""

    kind: SentenceKind
    text: str
    node: int
    on_path: bool = True


class SolutionKind(enum.Enum):
    """The correct path alone (k = 0), or with wrong turns (k >= 1)."""

    DIRECT = "direct"
    SEARCH = "search"


class Rewriter(enum.Enum):
    """How the words were found."""

    TEMPLATE = "template"
    LLM = "llm"
    LLM_THEN_TEMPLATE = "llm_then_template"


@dataclass(slots=True)
class Solution:
    """A chain of thought with provenance per sentence; the completion is the sentences joined without separator."""

    id: str
    problem: Problem
    prompt: str
    sentences: tuple[Sentence, ...]
    kind: SolutionKind
    rewriter: Rewriter
    trace: SearchTrace
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def completion(self) -> str:
        """What the policy is taught to say after the prompt."""
        return "".join(sentence.text for sentence in self.sentences)
