"""The texts the base is trained on: legal walks, skilled and unskilled, in two modes that never mix.

    Solution:     one attempt, right or wrong, with its verdict; then the end. `skill` is the share that follows a
                  solution, all others take legal steps at random: so the base answers like a beginner.
    Exploration:  many attempts; after each wrong one a doubt and a return to an earlier state. No step is tried twice
                  from one state while another is left. Steps are taken at random, but for a share of `skill`.

Problems that the task keeps for validation and evaluation are left out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from words import EOS, EXPLORATION, SOLUTION

from retrograde.tasks.countdown import SPLITS, TASK, State, after, moves, share, spell, statement, step_text

Action = tuple[int, str, int, int]
HELD_OUT = (*SPLITS["validation"], *SPLITS["evaluate"])


@dataclass(frozen=True, slots=True)
class Mixture:
    """What is generated."""

    sizes: tuple[int, ...] = (3,)
    skill: tuple[float, ...] = (0.15,)
    explore_skill: float = 0.1
    max_number: int = 15
    target: tuple[int, int] = (10, 60)
    num_attempts: tuple[int, int] = (2, 8)
    far_returns: float = 0.5
    """Share of returns to any earlier state of the path; the others go back by one step."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A problem with one of its solutions, which was walked to make it."""

    numbers: State
    target: int
    path: tuple[Action, ...]


def draw(size: int, mixture: Mixture, rng: random.Random) -> Puzzle:
    """A solvable problem that is not held out, found by walking to it."""
    while True:
        numbers = tuple(rng.randint(1, mixture.max_number) for _ in range(size))
        state, path = numbers, []
        while len(state) > 1:
            action = rng.choice(list(moves(state)))
            path.append(action)
            state = _after(state, action)
        if mixture.target[0] <= state[0] <= mixture.target[1] and share(numbers, state[0]) not in HELD_OUT:
            return Puzzle(numbers, state[0], tuple(path))


def solution(mixture: Mixture, rng: random.Random) -> tuple[str, str]:
    """(prompt, text) in the mode that answers."""
    kind = rng.randrange(len(mixture.sizes))
    task = draw(mixture.sizes[kind], mixture, rng)
    skilled = rng.random() < mixture.skill[kind]
    state, text = task.numbers, ""
    for depth in range(len(task.numbers) - 1):
        action = task.path[depth] if skilled else rng.choice(list(moves(state)))
        state = _after(state, action)
        text += step_text(*action, state, task.target)
    return statement(task.numbers, task.target)[:-1] + SOLUTION, text + EOS


def exploration(mixture: Mixture, rng: random.Random) -> tuple[str, str]:
    """(prompt, text) in the mode with wrong turns."""
    task = draw(rng.choice(mixture.sizes), mixture, rng)
    tried: set[tuple[State, Action]] = set()
    path, text = [task.numbers], ""
    for _ in range(rng.randint(*mixture.num_attempts)):
        path, told = _attempt(task, path, tried, rng, skilled=mixture.explore_skill)
        text += told
        if path[-1][0] == task.target:
            break
        path = path[: rng.randint(1, len(path) - 1)] if rng.random() < mixture.far_returns else path[:-1]
        text += TASK.phrases.doubt + _return(path)
    else:
        text = text[: text.rfind(TASK.phrases.doubt)]
    return statement(task.numbers, task.target)[:-1] + EXPLORATION, text + EOS


def _attempt(
    task: Puzzle, path: list[State], tried: set[tuple[State, Action]], rng: random.Random, *, skilled: float
) -> tuple[list[State], str]:
    """Goes on from the last of `path` to an end; returns the path walked and its text."""
    path, text = list(path), ""
    follows = rng.random() < skilled
    while len(path[-1]) > 1:
        state = path[-1]
        choices = list(moves(state))
        fresh = [action for action in choices if (state, action) not in tried]
        wise = [action for action in task.path if follows and action in fresh]
        action = wise[0] if wise else rng.choice(fresh or choices)
        path.append(_after(state, action))
        if len(path[-1]) == 1:
            tried.add((state, action))
        text += step_text(*action, path[-1], task.target)
    return path, text


def _return(path: list[State]) -> str:
    shape = TASK.phrases.go_back if len(path) > 1 else TASK.phrases.restart
    return shape.format(recall=f"had {spell(path[-1])}")


def _after(state: State, action: Action) -> State:
    left = after(state, action[0], action[2], action[3])
    if left is None:
        raise ValueError(f"{action} is no move on {state}")
    return left
