"""Words for figures: names of arms, percentages, and the report's first sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LABELS = {
    "base": "Base",
    "best_of_n": "Base, best of n",
    "direct_sft": "Direct SFT",
    "direct_rl": "Direct RL",
    "astro_sft": "ASTRO SFT",
    "astro_rl": "ASTRO RL",
}
_ASTRO = ("astro_rl", "astro_sft")


def arm_label(arm: str, figures: Mapping[str, Any] | None = None) -> str:
    """What readers call the arm; best of n says its n."""
    if arm == "best_of_n" and figures:
        return f"Base, best of {figures['k']}"
    return _LABELS.get(arm, arm)


def percent(share: float | None) -> str:
    """0.5384 -> "53.8 %"; None is a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"


def scaled(count: float) -> str:
    """14264 -> "14.3 k"."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return f"{count:.0f}"


def headline(report: Mapping[str, Any]) -> str:
    """The finding in one sentence; without scores yet, what there is."""
    arms = report["arms"]
    best = next((arm for arm in _ASTRO if arm in arms), None)
    if best is None or "base" not in arms:
        search = report["search"]
        return f"{search['solved']} of {search['trees']} searched problems were solved in their tree."
    ours, base = _first(arms[best]), _first(arms["base"])
    verdict = _compared(ours["ci95"], base["ci95"])
    shares = (
        f"{percent(ours['pass_at_1'])} of {ours['n']} held-out problems; its base solves {percent(base['pass_at_1'])}"
    )
    return f"{arm_label(best)} solves {shares}, {verdict}."


def lead(report: Mapping[str, Any]) -> str:
    """What the astro arms are worth beside parallel sampling, whichever way it came out."""
    sentences = [_equal_tokens(row) for row in report["equal_tokens"]]
    return (
        " ".join(sentences)
        or "Problems were searched, their trees told as chains of thought, and policies trained on them."
    )


def _equal_tokens(row: Mapping[str, Any]) -> str:
    low, high = row["difference_ci95"]
    outcome = "ahead of" if low > 0 else "behind" if high < 0 else "level with"
    return (
        f"At equal inference tokens {arm_label(row['astro_arm'])} ({percent(row['astro'])}) is {outcome} a vote of "
        f"{row['k']} {arm_label(row['direct_arm'])} samples ({percent(row['direct_best_of_k'])})."
    )


def _compared(ours: list[float], theirs: list[float]) -> str:
    if ours[0] > theirs[1]:
        return "and their 95 % intervals do not overlap"
    return "but their 95 % intervals overlap" if ours[1] >= theirs[0] else "which is worse than the base"


def _first(tasks: Mapping[str, Any]) -> Mapping[str, Any]:
    first: Mapping[str, Any] = next(iter(tasks.values()))
    return first
