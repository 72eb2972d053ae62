"""`report.html`: one file with everything in it, drawn from the report's figures and one tree.

Order on the page: the finding in a sentence, accuracy with intervals, training curves, search and one tree, one chain
of thought, what backtracking has to do with success, cost, provenance. A section without data is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from retrograde.analysis import svg, tables
from retrograde.analysis.artifacts import ARMS, Row, RunArtifacts
from retrograde.analysis.chain_drawing import draw_chain
from retrograde.analysis.charts import Bar, bars, curves
from retrograde.analysis.tree_drawing import draw_tree
from retrograde.analysis.wording import arm_label, headline, lead, percent, scaled

_CURVES = (("reward", "Reward"), ("length", "Tokens per answer"), ("backtracks", "Backtracks per answer"))
_SPOKEN = ("astro_rl", "astro_sft")


def render(report: Mapping[str, Any], artifacts: RunArtifacts) -> str:
    """The page. Deterministic; holds no script and no address of anything outside itself."""
    package = resources.files("retrograde.analysis")
    sections = (
        _accuracy(report),
        _training(report),
        _search(report, artifacts),
        _chain(artifacts),
        _spoken(artifacts.rows),
        _correlation(report),
        _cost(report),
        _provenance(report),
    )
    return Template(package.joinpath("template.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"Retrograde: {report['run_id']}"),
        style=package.joinpath("style.css").read_text(encoding="utf-8"),
        eyebrow=escape(f"Retrograde · run {report['run_id']}"),
        headline=escape(headline(report)),
        lead=escape(lead(report)),
        tiles=_tiles(report),
        sections="\n".join(section for section in sections if section),
    )


def _section(title: str, note: str, *content: str) -> str:
    return svg.tag("section", f"<h2>{escape(title)}</h2><p class='soft'>{escape(note)}</p>" + "".join(content))


def _tiles(report: Mapping[str, Any]) -> str:
    search, solutions = report["search"], report["solutions"]
    seconds = sum(stage["wall_seconds"] for stage in report["cost"].values())
    tokens = sum(stage["generated_tokens"] for stage in report["cost"].values())
    tiles = (
        (
            percent(search["solved_share"]),
            f"of {search['trees']} searched problems solved in their tree{_times(report)}",
        ),
        (f"{solutions['direct'] + solutions['search']:,}", f"solutions told, {solutions['search']:,} with wrong turns"),
        (scaled(tokens), "tokens generated in all stages"),
        (tables.duration(seconds), "of wall time, training and evaluation included"),
    )
    return "".join(f'<div class="tile"><b>{escape(big)}</b><span>{escape(small)}</span></div>' for big, small in tiles)


def _times(report: Mapping[str, Any]) -> str:
    """How much more the search solves than one sample of the base, if that was evaluated."""
    base = next(iter(report["arms"].get("base", {}).values()), {"pass_at_1": 0.0})["pass_at_1"]
    return f", {report['search']['solved_share'] / base:.1f} times the base's pass@1" if base else ""


def _accuracy(report: Mapping[str, Any]) -> str:
    if not report["arms"]:
        return ""
    charts = []
    for task in next(iter(report["arms"].values())):
        entries = [_bar(arm, report["arms"][arm][task]) for arm in ARMS if task in report["arms"].get(arm, {})]
        charts.append(f"<h3>{escape(task)}</h3>{bars(entries, f'pass@1 on {task}')}")
    parallel = [bar for row in report["equal_tokens"] for bar in _parallel_bars(row)]
    if parallel:
        charts.append("<h3>The same inference tokens spent on parallel sampling</h3>")
        charts.append(bars(parallel, "astro arms against parallel sampling at equal tokens"))
        charts.append(tables.equal_tokens(report["equal_tokens"]))
    note = (
        "Share of right answers on held-out problems, with 95 % intervals over problems. Best of n answers once from "
        "all its samples, by their own vote; it may use as many tokens as a search tree did."
    )
    return _section("Accuracy", note, *charts, tables.arms(report["arms"]))


def _bar(arm: str, figures: Mapping[str, Any]) -> Bar:
    estimate = (figures["pass_at_1"], *figures["ci95"])
    return _tokens_bar(arm_label(arm, figures), estimate, figures["mean_tokens"], f"arm-{arm}")


def _parallel_bars(row: Mapping[str, Any]) -> tuple[Bar, Bar]:
    ours, theirs = row["astro_arm"], row["direct_arm"]
    label = f"{row['k']} votes of {arm_label(theirs)}"
    votes = (row["direct_best_of_k"], *row["direct_best_of_k_ci95"])
    return (
        _tokens_bar(arm_label(ours), (row["astro"], *row["astro_ci95"]), row["astro_tokens"], f"arm-{ours}"),
        _tokens_bar(label, votes, row["direct_tokens"], f"arm-{theirs} parallel"),
    )


def _tokens_bar(label: str, estimate: tuple[float, ...], tokens: float, class_: str) -> Bar:
    value, low, high = estimate
    return Bar(label, value, low, high, f"{tokens:,.0f} tokens an answer", class_)


def _training(report: Mapping[str, Any]) -> str:
    drawn = [chart for name, title in _CURVES if (chart := curves(report["rl"], name, title))]
    if not drawn:
        return ""
    keys = "".join(f'<li class="arm-{arm}"><i></i>{escape(arm_label(arm))}</li>' for arm in report["rl"])
    note = "Means over each step's samples: faint as measured, strong as a moving mean."
    return _section(
        "Reinforcement learning", note, f'<div class="curves">{"".join(drawn)}</div>', f'<ul class="legend">{keys}</ul>'
    )


def _search(report: Mapping[str, Any], artifacts: RunArtifacts) -> str:
    content = [tables.search(report["search"], report["solutions"])]
    if artifacts.example:
        tree, solution = artifacts.example.tree, artifacts.example.solution
        content.append(f"<h3>One tree: {escape(tree.problem.statement)}</h3>")
        content.append(f'<div class="scroll">{_with_arrow(draw_tree(tree, solution.trace))}</div>')
    note = (
        "Coloured lines are the path of the solution that was told, dark ones its wrong turns, dashed arrows its "
        "returns. Green ends are right, red ones wrong; a larger dot was visited more often."
    )
    return _section("Search", note, *content)


def _chain(artifacts: RunArtifacts) -> str:
    if artifacts.example is None:
        return ""
    chain = draw_chain(artifacts.example.tree, artifacts.example.solution)
    note = "The same walk in words. Every sentence knows the node it tells; a dot further right is deeper in the tree."
    return _section("One chain of thought", note, f'<div class="scroll">{chain}</div>')


def _with_arrow(drawing: str) -> str:
    """Adds the arrowhead that every drawing of the page refers to."""
    return drawing.replace("</title>", f"</title>{svg.arrowhead()}", 1)


def _spoken(rows: Mapping[str, Sequence[Row]]) -> str:
    """The shortest right answer with valid returns that a trained astro arm gave."""
    for arm in _SPOKEN:
        found = [row for row in rows.get(arm, ()) if row.is_correct and 0 < row.backtracks == row.valid_backtracks]
        if found:
            row = min(found, key=lambda row: (-min(row.backtracks, 2), row.num_tokens, row.problem_id))
            note = (
                f"{arm_label(arm)} on held-out problem {row.problem_id}, sample {row.sample}: its own words, unedited."
            )
            return _section("What the trained policy says", note, svg.tag("pre", escape(row.text)))
    return ""


def _correlation(report: Mapping[str, Any]) -> str:
    if not report["correlation"]["arms"]:
        return ""
    note = (
        "Hard problems draw more returns and more failures, and long answers hold more of both: only what is left "
        "within one problem and at equal length speaks for backtracking itself."
    )
    return _section("Backtracks and success", note, tables.correlation(report["correlation"]))


def _cost(report: Mapping[str, Any]) -> str:
    note = "Measured, not estimated. Accelerator seconds are those in which the engine or the optimiser worked."
    return _section("Cost", note, tables.cost(report["cost"])) if report["cost"] else ""


def _provenance(report: Mapping[str, Any]) -> str:
    note = "Enough to make every figure again."
    return _section("Provenance", note, tables.provenance(report))
