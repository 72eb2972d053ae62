r"""What a chat model is asked, word for word: to solve, to retell a step, to judge (all ours)."""

from __future__ import annotations

import re

PROMPT = r"""{problem}

Solve the problem step by step. Write each step as a short paragraph of its own. End with:
The answer is \boxed{...}."""

_RETELL = r"""Rewrite the step of a solution as one clear sentence in the voice of someone who thinks aloud.
Keep every number and formula. Add no new number and no other step. If the step has \boxed{}, keep it.

Step: 5*4=20 eggs
Rewritten: First we find that there are 5 * 4 = 20 eggs.

Step: The answer is \boxed{17}.
Rewritten: So the answer is \boxed{17}.

Step: x = \frac{10 - 4}{2} = 3
Rewritten: Now we solve for x and get x = \frac{10 - 4}{2} = 3.

The problem: {problem}
The solution so far: {so_far}

Step: {step}
Rewritten:"""

_JUDGE = r"""Problem: {problem}

Proposed solution:
{solution}

Is the proposed solution correct? Check each step and the final answer, then answer with yes or no only."""


def retell(problem: str, so_far: str, step: str) -> str:
    """The request for a step in other words."""
    told = so_far.strip() or "(nothing yet)"
    return _fill(_RETELL, problem=problem, so_far=told, step=" ".join(step.split()))


def judge(problem: str, solution: str) -> str:
    """The request for a judgement."""
    return _fill(_JUDGE, problem=problem, solution=solution.strip())


def _fill(shape: str, **values: str) -> str:
    """`shape` with its {names} replaced in one pass: braces in the values stay as they are."""
    return re.sub(r"\{(" + "|".join(values) + r")\}", lambda match: values[match[1]], shape)
