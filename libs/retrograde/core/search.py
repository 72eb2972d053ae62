"""A search of one problem, without I/O: what it asks, what it is told, what it may spend.

A search says what it wants to know and is told the answers; the driver in services/search does the asking:

    while not search.done:
        for each new call in search.in_flight:
            completions = ask the policy for search.prompt(call), search.sampling(call)
            grades      = ask the verifier about search.to_grade(call, completions)
        search.feed(call, Reply(completions, grades))        as replies come, one at a time

After each reply the search itself starts as many further calls as `max_in_flight` allows. Which ones depends on the
replies and their order alone, so feeding the logged replies of a killed search makes the same tree and leaves the same
calls in flight. What a kind of search does is in mcts.py and baselines.py: which call comes next (`_plan`) and what a
reply teaches (`_learn`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrograde.core.policy import Completion, Prompt, Sampling
from retrograde.core.problem import Grade
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task


MAX_JUDGEMENT_TOKENS = 8  # enough for a yes or a no, with what a chat puts before it


class SearchError(ValueError):
    """A reply does not fit the call it answers; the message says how."""


class CallKind(enum.Enum):
    """What is asked of the policy."""

    EXPAND = "expand"  # next steps
    EVALUATE = "evaluate"  # rollouts to the end
    JUDGE = "judge"  # whether the steps so far are right


@dataclass(frozen=True, slots=True)
class Call:
    """The search's `index`-th question: `num_samples` continuations of `node`."""

    index: int
    kind: CallKind
    node: int
    num_samples: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The completions, and by position the grades of those that `Search.to_grade` named."""

    completions: Sequence[Completion]
    grades: Mapping[int, Grade] = field(default_factory=dict)


@dataclass(slots=True)
class Spent:
    """What was answered so far: proposed steps, rollouts, judgements, the calls for them and their tokens."""

    num_proposals: int = 0
    num_rollouts: int = 0
    num_calls: int = 0
    generated_tokens: int = 0
    num_judgements: int = 0


@dataclass(frozen=True, slots=True)
class Planned:
    """A call not yet started."""

    kind: CallKind
    node: int
    num_samples: int


class Search:
    """A search of `tree`, which it grows in place."""

    def __init__(self, tree: SearchTree, task: Task, settings: SearchSettings) -> None:
        self.tree = tree
        self.spent = Spent()
        self._task = task
        self._settings = settings
        self._started: dict[int, Call] = {}
        self._num_calls = 0
        self._known_ends: dict[Call, tuple[Sequence[Completion], list[int]]] = {}  # of an answer that is not fed yet
        self._is_stale = True  # a reply came in, or nothing was asked yet
        self._is_spent = False  # a call did not fit the budget: none is started any more

    @property
    def in_flight(self) -> Mapping[int, Call]:
        """Calls that wait for a reply, by index, oldest first."""
        if self._is_stale:
            self._is_stale = False
            self._top_up()
        return self._started

    @property
    def done(self) -> bool:
        """Whether no call waits for a reply and none will follow."""
        return not self.in_flight

    @property
    def num_correct(self) -> int:
        """Correct terminals found so far, kept rollouts included."""
        return sum(node.is_correct for node in self.tree.nodes)

    def next_call(self) -> Call | None:
        """The oldest call in flight; None when the search is done."""
        return next(iter(self.in_flight.values()), None)

    def prompt(self, call: Call) -> Prompt:
        """What the policy continues, or judges."""
        if call.kind is CallKind.JUDGE:
            return Prompt(self._judgement(call.node)[0], chat=self._task.chat)
        begun = "".join(self.tree.steps(call.node))
        return Prompt(self._task.prompt(self.tree.problem), chat=self._task.chat, begun=begun)

    def sampling(self, call: Call, seed: int | None = None) -> Sampling:
        """How it is continued: to the end of a step, or to the end; a judgement is one step."""
        settings, expands = self._settings, call.kind is CallKind.EXPAND
        return Sampling(
            n=call.num_samples,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=self._max_tokens(call.kind),
            stop=() if call.kind is CallKind.EVALUATE else self._task.stop,
            seed=seed,
            logprobs=expands,
        )

    def to_grade(self, call: Call, completions: Sequence[Completion]) -> dict[int, str]:
        """Whole solutions to be judged, by the position of the completion that ends them.

        Every rollout ends one, and of the proposed steps those that are terminal; a judgement ends none.
        """
        said = "".join(self.tree.steps(call.node))
        return {at: said + completions[at].text for at in self._ends(call, completions)}

    def feed(self, call: Call, reply: Reply) -> None:
        """Takes the answer to a call in flight into the tree. Raises SearchError for another, or without its grades."""
        if self.in_flight.get(call.index) != call:
            raise SearchError(f"call {call.index}: not a call in flight; feed the answers to those in in_flight")
        wanted = self._ends(call, reply.completions)
        if reply.grades.keys() != set(wanted):
            raise SearchError(f"call {call.index}: grades for {sorted(reply.grades)}, wanted for {wanted}")
        del self._started[call.index], self._known_ends[call]
        self._count(call, reply)
        self._learn(call, reply)
        self._is_stale = True

    def _ends(self, call: Call, completions: Sequence[Completion]) -> list[int]:
        """Positions of what ends a solution; asked again about the same answer to a call, it knows."""
        known, ends = self._known_ends.get(call, (None, []))
        if known is completions:
            return ends
        begun, everything = self.tree.steps(call.node), range(len(completions))
        match call.kind:
            case CallKind.JUDGE:
                ends = []
            case CallKind.EVALUATE:
                ends = list(everything)
            case CallKind.EXPAND:
                problem, is_terminal = self.tree.problem, self._task.is_terminal
                ends = [at for at in everything if is_terminal(problem, [*begun, completions[at].text])]
        self._known_ends[call] = completions, ends
        return ends

    def _plan(self) -> Planned | None:
        """The next call to start, or None while there is none: for now if calls are in flight, else for good."""
        raise NotImplementedError

    def _learn(self, call: Call, reply: Reply) -> None:
        """Takes a reply into the tree."""
        raise NotImplementedError

    def _top_up(self) -> None:
        while len(self._started) < self._settings.max_in_flight and not self._is_spent:
            planned = self._plan()
            if planned is None:
                return
            if not self._fits(planned):
                self._is_spent = True
                return
            call = Call(self._num_calls, planned.kind, planned.node, planned.num_samples)
            self._started[call.index] = call
            self._num_calls += 1

    def _fits(self, planned: Planned) -> bool:
        """Whether its worst case fits what is left beside the worst case of the calls in flight."""
        limit, settings = self._settings.max_generated_tokens, self._settings
        if settings.max_calls and self._num_calls >= settings.max_calls:
            return False
        reserved = sum(call.num_samples * self._max_tokens(call.kind) for call in self._started.values())
        wanted = planned.num_samples * self._max_tokens(planned.kind)
        return not limit or self.spent.generated_tokens + reserved + wanted <= limit

    def _max_tokens(self, kind: CallKind) -> int:
        match kind:
            case CallKind.EXPAND:
                return self._settings.max_step_tokens
            case CallKind.EVALUATE:
                return self._settings.max_rollout_tokens
            case CallKind.JUDGE:
                return MAX_JUDGEMENT_TOKENS

    def _judgement(self, node: int) -> tuple[str, str]:
        """(prompt, start of the answer that means yes) on the steps that lead to `node`."""
        return self._task.judge_prompt(self.tree.problem, "".join(self.tree.steps(node)))

    def _approval(self, call: Call, reply: Reply) -> float | None:
        """The share of judgements that say yes; None where there is no judgement."""
        yes = self._judgement(call.node)[1].strip().casefold()
        answers = [completion.text.lstrip().casefold().startswith(yes) for completion in reply.completions]
        return sum(answers) / len(answers) if answers else None

    def _count(self, call: Call, reply: Reply) -> None:
        self.spent.num_calls += 1
        self.spent.generated_tokens += sum(completion.num_tokens for completion in reply.completions)
        match call.kind:
            case CallKind.EXPAND:
                self.spent.num_proposals += len(reply.completions)
            case CallKind.EVALUATE:
                self.spent.num_rollouts += len(reply.completions)
            case CallKind.JUDGE:
                self.spent.num_judgements += len(reply.completions)
