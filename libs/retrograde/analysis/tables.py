"""The report's tables, as HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from retrograde.analysis.artifacts import ARMS
from retrograde.analysis.wording import arm_label, percent

_SECONDS_PER_MINUTE = 60
_MOST_COLUMNS_OF_WORDS = 3
_COSTS = ("wall_seconds", "accelerator_seconds", "prompt_tokens", "generated_tokens", "verifier_calls")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str] = ()) -> str:
    """A table of plain words; the first column is the rows' names."""
    content = f"<thead>{_row(head, 'th')}</thead><tbody>{''.join(_row(row, 'td') for row in rows)}</tbody>"
    end = f"<tfoot>{_row(foot, 'td')}</tfoot>" if foot else ""
    class_ = ' class="figures"' if len(head) > _MOST_COLUMNS_OF_WORDS else ""
    return f'<div class="scroll"><table{class_}>{content}{end}</table></div>'


def arms(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A row per arm and task."""
    head = ("Arm", "Task", "Problems", "pass@1", "95 % interval", "maj@k", "Tokens", "Backtracks", "Returns that hold")
    rows = [_arm_row(arm, task, row) for arm in ARMS if arm in figures for task, row in figures[arm].items()]
    return table(head, rows)


def _arm_row(arm: str, task: str, row: Mapping[str, Any]) -> list[str]:
    low, high = row["ci95"]
    return [
        arm_label(arm, row),
        task,
        f"{row['n']:,}",
        percent(row["pass_at_1"]),
        f"{percent(low)} to {percent(high)}",
        f"{percent(row['maj_at_k'])} (k = {row['k']})",
        f"{row['mean_tokens']:,.1f}",
        f"{row['mean_backtracks']:.2f}",
        percent(row["valid_backtracks"]),
    ]


def equal_tokens(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each astro arm beside parallel sampling from its direct counterpart."""
    head = ("At equal tokens", "pass@1", "Against", "own vote", "perfect judge", "Difference", "95 % interval")
    return table(head, [_equal_row(row) for row in rows])


def _equal_row(row: Mapping[str, Any]) -> list[str]:
    low, high = row["difference_ci95"]
    return [
        arm_label(row["astro_arm"]),
        percent(row["astro"]),
        f"{row['k']} votes of {arm_label(row['direct_arm'])}",
        percent(row["direct_best_of_k"]),
        percent(row["direct_any_of_k"]),
        f"{100 * row['difference']:+.1f}",
        f"{100 * low:+.1f} to {100 * high:+.1f}",
    ]


def search(facts: Mapping[str, Any], solutions: Mapping[str, Any]) -> str:
    """What the search found and what became of it."""
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in solutions["rejected"].items()) or "none"
    rewriters = ", ".join(f"{name} {count:,}" for name, count in solutions["rewriters"].items()) or "none"
    rows = [
        ("Problems searched", f"{facts['trees']:,} of {facts['problems']:,}"),
        ("Solved: a right terminal in the tree", f"{facts['solved']:,} ({percent(facts['solved_share'])})"),
        ("Valid: at least one solution kept", f"{facts['valid']:,}"),
        ("Nodes and generated tokens a tree", f"{facts['mean_nodes']:,.1f} and {facts['mean_generated_tokens']:,.0f}"),
        ("Solutions", f"{solutions['direct']:,} direct, {solutions['search']:,} with wrong turns"),
        ("Told by", rewriters),
        ("Refused", rejected),
    ]
    return table(("", ""), rows)


def correlation(figures: Mapping[str, Any]) -> str:
    """Every arm that backtracks, and training as a whole."""
    head = ("Backtracks against success", "Points", "Raw", "Length taken out", "Within a problem", "Both")
    rows = [
        [
            f"{arm_label(arm)}, over samples",
            f"{row['n']:,}",
            _signed(row["backtracks_score"]),
            _signed(row["partial_given_length"]),
            _signed(row["within_problem"]),
            _signed(row["within_problem_given_length"]),
        ]
        for arm, row in figures["arms"].items()
    ]
    steps = figures["across_steps"]
    raw, partial = _signed(steps["backtracks_score"]), _signed(steps["partial_given_length"])
    return table(head, [*rows, ["ASTRO RL, over training steps", f"{steps['n']:,}", raw, partial, "", ""]])


def cost(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """A row per stage and their sum."""
    head = ("Stage", "Wall time", "Accelerator", "Prompt tokens", "Generated tokens", "Verifier calls")
    total = {name: sum(stage[name] for stage in stages.values()) for name in _COSTS}
    return table(head, [_cost_row(name, stage) for name, stage in stages.items()], _cost_row("All", total))


def _cost_row(name: str, stage: Mapping[str, Any]) -> list[str]:
    return [
        name,
        duration(stage["wall_seconds"]),
        duration(stage["accelerator_seconds"]),
        f"{stage['prompt_tokens']:,}",
        f"{stage['generated_tokens']:,}",
        f"{stage['verifier_calls']:,}",
    ]


def provenance(report: Mapping[str, Any]) -> str:
    """Names and hashes, how figures were made, and the recipe in full."""
    pairs = {
        "Run": report["run_id"],
        "Recipe": f"{report['recipe'].get('name', '')} ({report['recipe_hash']})",
        "Code": report["code_version"],
        "Seed": report["recipe"].get("seed", ""),
        **report["method"],
    }
    listed = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs.items())
    recipe = escape(json.dumps(report["recipe"], indent=2, ensure_ascii=False))
    return f"<dl>{listed}</dl><details><summary>The recipe in full</summary><pre>{recipe}</pre></details>"


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < _SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"  # noqa: PLR2004 - a digit more for short ones
    minutes, rest = divmod(whole, _SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _row(cells: Sequence[str], kind: str) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"
