"""Walks over a searched tree, with its wrong turns and returns (paper, Algorithm 1).

Terminals are split into correct and wrong. One correct terminal n* of high quality is chosen, and for each walk k wrong
ones of distinct final answers. Their root-to-terminal paths are told in order, n* last; at the end of a path the walk
returns to where the next one parts from it, and goes on from there. The paths are put in depth-first order, so that
place is always an ancestor of where the walk stands, and no node is told twice (except after a restart, with
`merge_at="root"`).

A walk that cannot be made is not replaced by a smaller one: it is left out and counted under a `Rejection`.
"""

from __future__ import annotations

import enum
import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from retrograde.core.problem import Verdict
from retrograde.core.settings import LinearizeSettings
from retrograde.core.solution import Move, MoveKind, SearchTrace
from retrograde.core.tree import ROOT, SearchTree


class Rejection(enum.StrEnum):
    """Why a tree, or a walk wanted from it, gives no trace."""

    NO_CORRECT = "no_correct"  # the tree: no terminal is correct
    NOT_SELF_CONSISTENT = "not_self_consistent"  # the tree: no correct terminal passed self-evaluation
    TOO_FEW_WRONG = "too_few_wrong"  # the walk: fewer than k distinct wrong answers were found
    NO_OTHER_WALK = "no_other_walk"  # the walk: all tries gave a walk already made


class Linearized(NamedTuple):
    """The walks, and what was left out, counted: once per tree, or once per walk, as `Rejection` says."""

    traces: list[SearchTrace]
    rejected: dict[str, int]


NUM_TRIES = 32
WRONG = frozenset({Verdict.INCORRECT, Verdict.UNPARSABLE})


def linearize(
    tree: SearchTree,
    settings: LinearizeSettings,
    rng: random.Random,
    tree_key: str = "",
    accepted: AbstractSet[int] | None = None,
) -> Linearized:
    """The direct walk (if wanted), then one walk per entry of `settings.num_wrong`; no two are the same.

    `accepted` holds the correct terminals that passed self-evaluation; None turns that filter off. The same tree,
    settings and state of `rng` give the same walks.
    """
    ranked = ranked_correct(tree)
    passed = [node for node in ranked if accepted is None or node in accepted]
    if not passed:
        reason = Rejection.NOT_SELF_CONSISTENT if ranked else Rejection.NO_CORRECT
        return Linearized([], {reason.value: 1})
    right = passed[0]
    wrong = wrong_by_answer(tree, right)
    traces: list[SearchTrace] = []
    rejected: Counter[str] = Counter()
    for num_wrong in (*((0,) if settings.direct else ()), *settings.num_wrong):
        trace = _new_walk(tree, settings, rng, tree_key, (right, wrong, num_wrong), traces)
        if isinstance(trace, Rejection):
            rejected[trace.value] += 1
        else:
            traces.append(trace)
    return Linearized(traces, dict(rejected))


def ranked_correct(tree: SearchTree) -> list[int]:
    """Correct terminals, the best first: by the mean Q of their path, fewer steps, higher mean log-probability, age."""

    def rank(node: int) -> tuple[float, int, float, int]:
        return (-_path_value(tree, node), tree.depth(node), -_path_logprob(tree, node), node)

    return sorted((node for node in tree.terminals() if tree.nodes[node].is_correct), key=rank)


def wrong_by_answer(tree: SearchTree, right: int) -> dict[str, list[int]]:
    """Wrong terminals by their final answer, oldest first; those without an answer, or with the right one, are out."""
    grade = tree.nodes[right].grade
    excluded = {"", grade.answer.strip() if grade else ""}
    found: dict[str, list[int]] = {}
    for node in tree.terminals():
        told = tree.nodes[node].grade
        if told is not None and told.verdict in WRONG and told.answer.strip() not in excluded:
            found.setdefault(told.answer.strip(), []).append(node)
    return found


def walk(tree: SearchTree, paths: Sequence[Sequence[int]], *, from_root: bool = False) -> tuple[Move, ...]:
    """Tells `paths` (each from the root, in depth-first order) one after the other, returning where they part.

    With `from_root` every return leads to the root and the next path is told in full.
    """
    moves: list[Move] = []
    here = ROOT
    for path in paths:
        behind = set(tree.path(here))
        meeting = ROOT if from_root else max(node for node in path if node in behind)
        if meeting != here:
            moves.append(Move(MoveKind.BACKTRACK, meeting))
        moves.extend(Move(MoveKind.STEP, node) for node in path[path.index(meeting) + 1 :])
        here = path[-1]
    return tuple(moves)


def _new_walk(
    tree: SearchTree,
    settings: LinearizeSettings,
    rng: random.Random,
    tree_key: str,
    choice: tuple[int, dict[str, list[int]], int],
    made: Sequence[SearchTrace],
) -> SearchTrace | Rejection:
    right, wrong, num_wrong = choice
    if len(wrong) < num_wrong:
        return Rejection.TOO_FEW_WRONG
    for _ in range(NUM_TRIES):
        drawn = [rng.choice(wrong[answer]) for answer in rng.sample(sorted(wrong), num_wrong)]
        paths = _depth_first([tree.path(node) for node in (*drawn, right)])
        if settings.backtrack_from == "any":
            paths = [*(_cut(path, after, rng) for path, after in itertools.pairwise(paths)), paths[-1]]
        told = tuple(path[-1] for path in paths if tree.nodes[path[-1]].is_terminal)
        trace = SearchTrace(tree_key, walk(tree, paths, from_root=settings.merge_at == "root"), told)
        if trace not in made:
            return trace
    return Rejection.NO_OTHER_WALK


def _depth_first(paths: list[list[int]]) -> list[list[int]]:
    """`paths` in an order a depth-first walk can tell, the last one still last; otherwise as they were drawn."""
    first: dict[int, int] = {}
    for position, path in enumerate(paths):
        for node in path:
            first.setdefault(node, position)
    first.update(dict.fromkeys(paths[-1], len(paths)))
    return sorted(paths, key=lambda path: [first[node] for node in path])


def _cut(path: list[int], after: list[int], rng: random.Random) -> list[int]:
    """`path` up to a step drawn from those it does not share with the path told `after` it."""
    shared = len(set(path) & set(after))
    return path[: rng.randrange(shared, len(path)) + 1]


def _path_value(tree: SearchTree, node: int) -> float:
    """Mean Q of the visited nodes between the root and the terminal; the root's where there is none."""
    between = [tree.nodes[index] for index in tree.path(node)[1:-1]]
    visited = [step.value for step in between if step.visits]
    return math.fsum(visited) / len(visited) if visited else tree.nodes[ROOT].value


def _path_logprob(tree: SearchTree, node: int) -> float:
    """Mean log-probability per token of the path's steps [nats]; minus infinity where a step's is not known."""
    steps = [tree.nodes[index] for index in tree.path(node)[1:]]
    if not steps or not all(step.num_tokens for step in steps):
        return -math.inf
    return math.fsum(step.logprob for step in steps) / sum(step.num_tokens for step in steps)
