"""The `retrograde` command, part two: services without a run, and the state of this machine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from retrograde.cli import background, checks
from retrograde.cli import doctor as machine
from retrograde.cli.app import (
    BrokerChoice,
    Mlflow,
    Out,
    PortBase,
    RecipePath,
    StoreChoice,
    Wandb,
    app,
    console,
    results,
    tracking_of,
)
from retrograde.cli.backends import Choice, running_backends
from retrograde.cli.run_folder import RunFolder
from retrograde.cli.run_lines import run_lines
from retrograde.cli.running import topology_of
from retrograde.cli.searching import read_problem, search_one

_UP = Path("build/up")
_RECIPE = Path("recipes/countdown.yaml")


@app.command(epilog="Example: `retrograde up recipes/countdown.yaml --out build/up`")
def up(
    recipe: RecipePath,
    *,
    out: Out = _UP,
    port_base: PortBase = 0,
    broker: BrokerChoice = None,
    store: StoreChoice = None,
    wandb: Wandb = "",
    mlflow: Mlflow = "",
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and stop with Ctrl-C.")] = False,
) -> None:
    """Starts all services in the background, serving the recipe's policy."""
    checked = checks.read_recipe(recipe)
    folder = RunFolder.at(out)
    choice = Choice.make(folder.path, broker, store)
    if foreground:
        with running_backends(folder.path, choice) as backends:
            topology = topology_of(checked, folder, backends, tracking_of(wandb, mlflow))
            asyncio.run(background.serve(topology, port_base))
        return
    arguments = [str(recipe), "--out", str(folder.path), "--port-base", str(port_base)]
    arguments += ["--wandb", wandb, "--mlflow", mlflow]
    with console().status("starting the services"):
        state = background.start(folder.path, arguments)
    results().print(background.view(folder.path, state))


@app.command(epilog="Example: `retrograde down --out build/up`")
def down(*, out: Out = _UP) -> None:
    """Stops what `up` started; a service in the middle of work stores it or hands it back first."""
    typer.echo(background.stop(out.expanduser().absolute()))


@app.command(epilog="Example: `retrograde status --out build/demo`")
def status(
    *, out: Out = _UP, as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False
) -> None:
    """Shows which services run in a folder, where they listen and how often they were restarted; and its runs."""
    folder = out.expanduser().absolute()
    state = background.need_state(folder)
    if as_json:
        typer.echo(json.dumps(state | {"alive": background.is_alive(state)}))
    else:
        results().print(background.view(folder, state))
        if trainer := (background.serving_addresses(folder) or {}).get("trainer"):
            results().print(*asyncio.run(run_lines(trainer)), sep="\n", highlight=False, soft_wrap=True)


@app.command(epilog='Example: `retrograde search "3 7 7 = 28" --recipe recipes/countdown.yaml`')
def search(
    problem: Annotated[str, typer.Argument(help="The problem; for countdown also short: '3 7 7 = 28'.")],
    *,
    recipe: Annotated[
        Path, typer.Option("--recipe", metavar="RECIPE", help="Whose policy and search settings.")
    ] = Path("recipes/countdown.yaml"),
    task: Annotated[str, typer.Option("--task", help="Default: the recipe's.")] = "",
    gold: Annotated[str, typer.Option("--gold", help="The right answer, where the problem does not say it.")] = "",
    out: Out = _UP,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
) -> None:
    """Searches one problem and draws its tree as it grows; uses the services of --out if they run."""
    checked = checks.read_recipe(recipe)
    asked = read_problem(task or checked.task, problem, gold)
    tree = asyncio.run(search_one(checked, asked, RunFolder.at(out).path, seed, results()))
    raise typer.Exit(0 if any(node.is_correct for node in tree.nodes) else 1)


@app.command(epilog="Example: `retrograde doctor`")
def doctor() -> None:
    """Shows what is installed, what is missing, and how to fix it; status 1 when something required is missing."""
    found = list(machine.findings(Path.cwd()))
    results().print(machine.view(found))
    raise typer.Exit(0 if all(each.ok or not each.required for each in found) else 1)
