"""Do backtracks go with success? Four answers, because the raw one misleads.

raw              over samples of one arm: hard problems draw both returns and failures: it may well be negative
given length     the same with length's straight line taken out of both
within problem   the same after subtracting each problem's means: difficulty cannot explain what is left
across steps     over the steps of training, as the paper's 0.816 to 0.854: both rise while the policy learns, so a high
                 figure says little about cause
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retrograde.analysis import statistics
from retrograde.analysis.artifacts import Metrics, Row

_PREFERRED = ("astro_rl", "astro_sft")


def correlation(rows: Mapping[str, Sequence[Row]], steps: Mapping[str, Sequence[Metrics]]) -> dict[str, Any]:
    """The contract's `correlation`: of the last astro arm, with every arm that backtracks under `arms`."""
    arms = {arm: of_samples(samples) for arm, samples in rows.items() if any(row.backtracks for row in samples)}
    chosen = next((arm for arm in _PREFERRED if arm in arms), None)
    empty = {"backtracks_score": None, "partial_given_length": None, "within_problem": None}
    return {
        **(arms[chosen] if chosen else empty),
        "arm": chosen,
        "arms": arms,
        "across_steps": of_steps(steps.get("astro_rl", ())),
    }


def of_samples(rows: Sequence[Row]) -> dict[str, Any]:
    """Over single samples; None where one side does not vary."""
    backtracks = [float(row.backtracks) for row in rows]
    score = [float(row.is_correct) for row in rows]
    length = [float(row.num_tokens) for row in rows]
    problems = [row.problem_id for row in rows]
    centred = [statistics.within_groups(values, problems) for values in (backtracks, score, length)]
    return {
        "n": len(rows),
        "backtracks_score": statistics.pearson(backtracks, score),
        "partial_given_length": statistics.partial_correlation(backtracks, score, length),
        "within_problem": statistics.pearson(centred[0], centred[1]),
        "within_problem_given_length": statistics.partial_correlation(*centred),
    }


def of_steps(steps: Sequence[Metrics]) -> dict[str, Any]:
    """Over training steps: mean backtracks against mean reward, raw and with mean length taken out."""
    backtracks = [step["backtracks"] for step in steps]
    reward = [step["reward"] for step in steps]
    length = [step["completions/mean_length"] for step in steps]
    return {
        "n": len(steps),
        "backtracks_score": statistics.pearson(backtracks, reward),
        "partial_given_length": statistics.partial_correlation(backtracks, reward, length),
    }
