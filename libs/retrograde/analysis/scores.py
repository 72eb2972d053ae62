"""Scores of the arms from their graded samples: the contract's row per arm, and what equal tokens buy.

Without a verifier a policy can only choose among its own samples: they vote with the answers they box, and a sample
that boxes none withdraws. That choice is maj@k, the best_of_n arm, and the side of parallel sampling in `equal_tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrograde.analysis import statistics
from retrograde.analysis.artifacts import Row

_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_PAIRS = (("astro_sft", "direct_sft"), ("astro_rl", "direct_rl"))


@dataclass(frozen=True, slots=True)
class Samples:
    """One problem's samples, in order: stated answers (str [S]), whether right (bool [S]), tokens (int [S])."""

    answers: list[str]
    correct: list[bool]
    tokens: list[int]


def by_problem(rows: Sequence[Row]) -> dict[str, Samples]:
    """Rows gathered per problem, samples in their order, problems in the order of their ids."""
    boxes = any(_BOXED.search(row.text) for row in rows)
    gathered: dict[str, Samples] = {}
    for row in sorted(rows, key=lambda row: (row.problem_id, row.sample)):
        samples = gathered.setdefault(row.problem_id, Samples([], [], []))
        samples.answers.append(stated_answer(row.text) if boxes else row.answer)
        samples.correct.append(row.is_correct)
        samples.tokens.append(row.num_tokens)
    return gathered


def stated_answer(text: str) -> str:
    r"""What the last `\boxed{}` of `text` holds, without spaces: the policy's own claim, right or not."""
    found = _BOXED.findall(text)
    return str(found[-1]).replace(" ", "") if found else ""


def score_arm(rows: Sequence[Row], k: int) -> dict[str, Any]:
    """The contract's figures of one arm that answers with one sample; k of maj@k is capped at the samples there are."""
    problems = by_problem(rows)
    k = min(k, *(len(samples.correct) for samples in problems.values()))
    accuracy = statistics.pass_at_1([samples.correct for samples in problems.values()])
    majority = [statistics.vote_at_k(samples.answers, samples.correct, k) for samples in problems.values()]
    return _figures(rows, problems, accuracy) | {"maj_at_k": float(np.mean(majority)), "k": k}


def score_best_of_n(rows: Sequence[Row]) -> dict[str, Any]:
    """The same figures where one answer is all samples of a problem together, chosen by their own vote.

    `mean_tokens` is the sum over the n samples. `any_of_n` is what a perfect judge would choose, the figure to hold
    beside the share of solved trees: the search is told by the verifier which terminal is right.
    """
    problems = by_problem(rows)
    votes = [statistics.vote(samples.answers, samples.correct) for samples in problems.values()]
    num_samples = len(rows) / len(problems)
    figures = _figures(rows, problems, statistics.mean_over_problems(votes))
    figures["mean_tokens"] *= num_samples
    ceiling = statistics.mean_over_problems([float(any(samples.correct)) for samples in problems.values()])
    return figures | {
        "maj_at_k": figures["pass_at_1"],
        "k": round(num_samples),
        "any_of_n": ceiling.value,
        "any_of_n_ci95": [ceiling.low, ceiling.high],
    }


def _figures(rows: Sequence[Row], problems: Mapping[str, Samples], accuracy: statistics.Estimate) -> dict[str, Any]:
    returns = sum(row.backtracks for row in rows)
    return {
        "n": len(problems),
        "num_samples": len(rows),
        "pass_at_1": accuracy.value,
        "ci95": [accuracy.low, accuracy.high],
        "mean_tokens": float(np.mean([row.num_tokens for row in rows])),
        "mean_backtracks": returns / len(rows),
        "valid_backtracks": sum(row.valid_backtracks for row in rows) / returns if returns else None,
        "verdicts": _verdicts(rows),
    }


def _verdicts(rows: Sequence[Row]) -> dict[str, float]:
    """Share of each verdict that occurs: a timeout is never hidden among the wrong."""
    names = sorted({row.verdict.value for row in rows})
    return {name: sum(row.verdict.value == name for row in rows) / len(rows) for name in names}


def equal_tokens(rows: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """Each astro arm against parallel sampling from its direct counterpart at the same inference tokens.

    k direct samples vote, k being the nearest whole number of them that one astro answer's tokens pay for; both token
    figures are given, for the match is never exact. The difference is paired over problems.
    """
    pairs = [(astro, direct) for astro, direct in _PAIRS if rows.get(astro) and rows.get(direct)]
    return [_against_parallel(astro, rows[astro], direct, rows[direct]) for astro, direct in pairs]


def _against_parallel(astro: str, astro_rows: Sequence[Row], direct: str, direct_rows: Sequence[Row]) -> dict[str, Any]:
    ours, theirs = by_problem(astro_rows), by_problem(direct_rows)
    shared = [problem for problem in ours if problem in theirs]
    tokens = float(np.mean([row.num_tokens for row in astro_rows]))
    tokens_each = float(np.mean([row.num_tokens for row in direct_rows]))
    affordable = max(1, round(tokens / tokens_each))
    k = min(affordable, *(len(samples.correct) for samples in theirs.values()))
    single = [float(np.mean(ours[problem].correct)) for problem in shared]
    votes = [statistics.vote_at_k(theirs[problem].answers, theirs[problem].correct, k) for problem in shared]
    ceiling = [_any_of(theirs[problem], k) for problem in shared]
    return {
        "astro_arm": astro,
        "direct_arm": direct,
        "n": len(shared),
        "k": k,
        "k_affordable": affordable,
        "astro_tokens": tokens,
        "direct_tokens": k * tokens_each,
        **_estimate("astro", statistics.mean_over_problems(single)),
        **_estimate("direct_best_of_k", statistics.mean_over_problems(votes)),
        **_estimate("direct_any_of_k", statistics.mean_over_problems(ceiling)),
        **_estimate("difference", statistics.paired_difference(single, votes)),
    }


def _any_of(samples: Samples, k: int) -> float:
    return statistics.any_of_k(len(samples.correct), sum(samples.correct), k)


def _estimate(name: str, estimate: statistics.Estimate) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_ci95": [estimate.low, estimate.high]}
