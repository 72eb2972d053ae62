"""The `retrograde` command, part three: stored trees, shown, checked and compared."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from retrograde.cli.app import app, results
from retrograde.cli.tree_checks import check_tree
from retrograde.cli.tree_files import read_tree
from retrograde.cli.tree_views import (
    best_path,
    figures_view,
    first_difference,
    node_row,
    path_view,
    statistics,
    subtree,
    subtree_view,
)
from retrograde.core.tree import ROOT
from retrograde.runtime.errors import InvalidInputError

tree = typer.Typer(help="Stored search trees: show, check and compare them.", no_args_is_help=True)
app.add_typer(tree, name="tree")

Place = Annotated[
    str, typer.Argument(metavar="FILE_OR_URL", help="A stored tree, or the folder of an unfinished one's log.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@tree.command(epilog="Example: `retrograde tree show build/demo/trees/PROBLEM.pb --depth 2`")
def show(
    place: Place,
    *,
    node: Annotated[int, typer.Option("--node", min=0, help="Only what is below this node.")] = ROOT,
    depth: Annotated[int, typer.Option("--depth", min=0, help="Steps shown below it.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Shows a tree's figures, its best path, and each node's visits, value, prior, step and verdict."""
    shown = read_tree(place)
    if node >= len(shown.nodes):
        raise InvalidInputError(f"--node: {node} is not in the tree; it has nodes 0 to {len(shown.nodes) - 1}")
    if as_json:
        nodes = [node_row(shown, index) for index in subtree(shown, node, depth)]
        path = best_path(shown)
        typer.echo(json.dumps({"statistics": statistics(shown), "best_path": path, "nodes": nodes}, ensure_ascii=False))
        return
    console = results()
    console.print(figures_view({"": statistics(shown)}))
    console.print(path_view(shown), highlight=False)
    console.print(subtree_view(shown, node, depth), highlight=False)


@tree.command(epilog="Example: `retrograde tree check build/demo/trees/*.pb`")
def check(
    places: Annotated[list[str], typer.Argument(metavar="FILE_OR_URL...", help="Stored trees, or folders of logs.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Checks that trees are sound; status 1 with what is wrong when one is not.

    Visits add up, values are the backup formula's, priors sum to 1, ends are graded, costs are not negative.
    """
    faults = [(place, fault) for place in places for fault in check_tree(read_tree(place))]
    for place, fault in faults:
        if as_json:
            typer.echo(json.dumps({"tree": place, "node": fault.node, "detail": fault.detail}, ensure_ascii=False))
        else:
            where = f"node {fault.node}" if fault.node >= 0 else "tree"
            typer.echo(f"{place}: {where}: {fault.detail}")
    if not as_json and not faults:
        typer.echo(f"{len(places)} sound")
    raise typer.Exit(1 if faults else 0)


@tree.command(epilog="Example: `retrograde tree diff one.pb other.pb`")
def diff(one: Place, other: Place, *, as_json: AsJson = False) -> None:
    """Shows where two trees first differ, and their figures side by side; status 1 when they differ.

    Compared are problem, iterations and nodes; costs are only shown.
    """
    left, right = read_tree(one), read_tree(other)
    found = first_difference(left, right)
    if as_json:
        difference = found and {"path": found.path, "detail": found.detail}
        figures = [statistics(left), statistics(right)]
        typer.echo(json.dumps({"difference": difference, "statistics": figures}, ensure_ascii=False))
    else:
        typer.echo("equal" if found is None else f"first difference: {found.detail}")
        for depth, step in enumerate(found.path if found else (), start=1):
            typer.echo(f"{'  ' * depth}{' '.join(step.split())}")
        results().print(figures_view({one: statistics(left), other: statistics(right)}))
    raise typer.Exit(0 if found is None else 1)
