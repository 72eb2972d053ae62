"""How a tree grows and learns: expand, evaluate, backpropagate (paper, section on search).

`expand` adds proposed steps below a leaf with their priors, `evaluate` turns rollouts into the leaf's own reward R(S),
`backpropagate` carries it to the root. Siblings always differ in their text: an equal proposal is merged into the
first, and a rollout follows existing nodes as far as its steps agree. Whether a node is terminal depends on its steps
alone, so a terminal never has children.

Rewards: correct 1, incorrect and unparsable `wrong_reward`; a timeout or an error of the judge is no reward at all and
is left out of every average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from retrograde.core.policy import Completion
from retrograde.core.problem import Grade, Verdict
from retrograde.core.selection import priors
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import Node, NodeOrigin, SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task


def reward(grade: Grade, wrong_reward: float) -> float | None:
    """What a verdict is worth in search; None where the judge gave no verdict."""
    match grade.verdict:
        case Verdict.CORRECT:
            return 1.0
        case Verdict.INCORRECT | Verdict.UNPARSABLE:
            return wrong_reward
        case Verdict.TIMEOUT | Verdict.ERROR:
            return None


def expand(
    tree: SearchTree,
    node: int,
    completions: Sequence[Completion],
    grades: Mapping[int, Grade],
    settings: SearchSettings,
) -> list[int]:
    """Adds `completions` as children of `node` and returns their indices.

    `grades` holds the grade of each completion that ends the solution, by its position. Equal texts make one child
    with the first one's log-probability and their number; an empty text is no step. A child at `max_depth` that ends
    nothing is given the grade "unparsable": no answer can come of it.
    """
    added: list[int] = []
    counts: dict[int, int] = {}
    for position, completion in enumerate(completions):
        child = _child(tree, node, completion.text, NodeOrigin.EXPANSION) if completion.text else node
        if child == node:
            continue
        counts[child] = counts.get(child, 0) + 1
        if child in added:
            continue
        added.append(child)
        tree.nodes[child].logprob = completion.logprob
        tree.nodes[child].num_tokens = completion.num_tokens
        _end(tree, child, grades.get(position), settings)
    for child, share in zip(added, _priors(tree, added, counts, settings), strict=True):
        tree.nodes[child].prior = share
        tree.nodes[child].num_proposed = counts[child]
    tree.nodes[node].expanded = True
    return added


def _priors(
    tree: SearchTree, children: Sequence[int], counts: Mapping[int, int], settings: SearchSettings
) -> list[float]:
    """Prior of each of `children`, which differ in their texts, by `settings.prior`."""
    if settings.prior == "count":
        total = sum(counts.values())
        return [counts[child] / total for child in children]
    return priors(
        [tree.nodes[child].logprob for child in children],
        [tree.nodes[child].num_tokens for child in children],
        length_normalised=settings.length_normalised_prior,
    )


def evaluate(
    tree: SearchTree,
    node: int,
    completions: Sequence[Completion],
    grades: Mapping[int, Grade],
    task: Task,
    settings: SearchSettings,
) -> float | None:
    """Sets and returns R(S) of `node`: the mean reward of its rollouts; None if none of them has a verdict.

    With `keep_rollouts` each rollout also becomes a chain of nodes ending in a terminal for the linearizer.
    """
    rewards = []
    for position, completion in enumerate(completions):
        steps = task.split(completion.text)
        if tree.depth(node) + len(steps) > settings.max_depth:
            rewards.append(settings.wrong_reward)
            continue
        if (worth := reward(grades[position], settings.wrong_reward)) is not None:
            rewards.append(worth)
        if settings.keep_rollouts:
            keep_rollout(tree, node, steps, grades[position], task, settings)
    tree.nodes[node].reward = sum(rewards) / len(rewards) if rewards else None
    return tree.nodes[node].reward


def keep_rollout(
    tree: SearchTree, node: int, steps: Sequence[str], grade: Grade, task: Task, settings: SearchSettings
) -> int | None:
    """Adds a rollout's steps below `node` and returns its terminal, or None if it is not kept.

    Kept are rollouts judged correct or incorrect whose last step, and no step before, ends the solution.
    """
    if grade.verdict not in {Verdict.CORRECT, Verdict.INCORRECT} or not _ends_with_last(tree, node, steps, task):
        return None
    for step in steps:
        node = _child(tree, node, step, NodeOrigin.ROLLOUT)
    _end(tree, node, grade, settings)
    return node


def _ends_with_last(tree: SearchTree, node: int, steps: Sequence[str], task: Task) -> bool:
    """Whether the last of the steps from `node`, and none before it, ends the solution; the tree knows of its own."""
    told = tree.steps(node)
    known: int | None = node
    for count, step in enumerate(steps, start=1):
        told.append(step)
        known = _find(tree, known, step)
        ends = tree.nodes[known].is_terminal if known is not None else task.is_terminal(tree.problem, told)
        if ends:
            return count == len(steps)
    return False


def backpropagate(tree: SearchTree, node: int) -> None:
    """Counts one visit of `node` and its ancestors, and recomputes their values from the bottom up.

    N += 1; Q <- (sum over children of Q*N, + R) / (sum over children of N, + 1), where R is the node's own reward. So
    Q of a leaf or terminal is R, and Q of an inner node is the mean of its own evaluation and its children's visits.
    A node without a reward of its own brings neither R nor the 1.
    """
    for index in reversed(tree.path(node)):
        current = tree.nodes[index]
        children = [tree.nodes[child] for child in current.children]
        total = sum(child.value * child.visits for child in children) + (current.reward or 0.0)
        weight = sum(child.visits for child in children) + (current.reward is not None)
        current.visits += 1
        current.value = total / weight if weight else 0.0


def _child(tree: SearchTree, parent: int, step: str, origin: NodeOrigin) -> int:
    """The child of `parent` that says `step`, made if there is none; an expansion takes over a rollout's node."""
    known = _find(tree, parent, step)
    if known is None:
        return tree.add(Node(parent=parent, origin=origin, step=step))
    if origin is NodeOrigin.EXPANSION:
        tree.nodes[known].origin = origin
    return known


def _find(tree: SearchTree, parent: int | None, step: str) -> int | None:
    """The child of `parent` that says `step`; None if there is none, or no parent."""
    children = tree.nodes[parent].children if parent is not None else ()
    return next((index for index in children if tree.nodes[index].step == step), None)


def _end(tree: SearchTree, node: int, grade: Grade | None, settings: SearchSettings) -> None:
    if tree.nodes[node].is_terminal:
        return
    if grade is None and tree.depth(node) >= settings.max_depth:
        grade = Grade(Verdict.UNPARSABLE, f"no answer within {settings.max_depth} steps")
    tree.nodes[node].grade = grade
    tree.nodes[node].reward = None if grade is None else reward(grade, settings.wrong_reward)
