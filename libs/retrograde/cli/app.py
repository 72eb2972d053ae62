"""The `retrograde` command, part one: runs and what they leave. Help is here, the work in the modules beside it."""

from __future__ import annotations

import asyncio
import enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from retrograde.cli import checks
from retrograde.cli.backends import Choice, opened_store
from retrograde.cli.disagreements import list_disagreements
from retrograde.cli.planning import plan_view
from retrograde.cli.run_folder import RunFolder
from retrograde.cli.running import run_recipe
from retrograde.cli.solutions import export_trl, export_verl, read_problems, read_solutions
from retrograde.cli.verifying import Pair, read_pairs, write_verdicts

_PIPE_WIDTH = 140

app = typer.Typer(
    name="retrograde",
    help="Search trees in, reasoning models out: the ASTRO method end to end.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, for example recipes/countdown.yaml.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The --out of a run.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder in which it all happens.")]
PortBase = Annotated[
    int, typer.Option("--port-base", min=0, max=65000, help="First of six consecutive ports; 0 picks free ones.")
]
BrokerChoice = Annotated[
    str | None, typer.Option("--broker", metavar="NAME_OR_URL", help="sqlite (the default), kafka, or a URL.")
]
StoreChoice = Annotated[
    str | None, typer.Option("--store", metavar="NAME_OR_URL", help="directory (the default), minio, or a URL.")
]


Wandb = Annotated[str, typer.Option("--wandb", metavar="PROJECT", help="Tell W&B the steps of training, too.")]
Mlflow = Annotated[str, typer.Option("--mlflow", metavar="URI", help="Tell MLflow the steps of training, too.")]


class Format(enum.StrEnum):
    """Whose trainer is to read it."""

    TRL = "trl"
    VERL = "verl"


def tracking_of(wandb: str, mlflow: str) -> dict[str, str]:
    """The trainer's setting `tracking`."""
    return {"wandb_project": wandb, "mlflow_uri": mlflow}


def console() -> Console:
    """Where people read while it works: stderr, so that results on stdout can be piped."""
    return Console(stderr=True)


def results() -> Console:
    """stdout; into a file or pipe it writes lines as long as they are."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


@app.command(epilog="Example: `retrograde run recipes/countdown.yaml --out build/demo`")
def run(
    recipe: RecipePath,
    *,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where the run lives.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe and print what it would cost.")] = False,
    port_base: PortBase = 0,
    broker: BrokerChoice = None,
    store: StoreChoice = None,
    wandb: Wandb = "",
    mlflow: Mlflow = "",
) -> None:
    """Runs a recipe from its problems to its report, or continues it.

    Ctrl-C stops cleanly, a second one at once; the same command goes on from there and repeats nothing.
    """
    if dry_run:
        results().print(plan_view(checks.read_recipe(recipe, needs_checkpoint=False)))
        return
    if out is None:
        raise typer.BadParameter("name the run's folder", param_hint="--out")
    checked = checks.read_recipe(recipe)
    checks.read_problems(recipe, checked)
    folder = RunFolder.at(out)
    folder.check_room(checked)
    run_id = folder.claim(checked)
    choice = Choice.make(folder.path, broker, store)
    work = run_recipe(checked, folder, run_id, choice, console(), port_base, tracking_of(wandb, mlflow))
    raise typer.Exit(asyncio.run(work))


@app.command(epilog="Example: `retrograde export build/demo --format verl --to build/verl`")
def export(
    folder: Folder,
    *,
    format_: Annotated[Format, typer.Option("--format", help="trl: JSON lines; verl: parquet.")] = Format.TRL,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Default: DIR/export/<format>.")] = None,
) -> None:
    """Writes a run's solutions (and for verl its RL prompts) as another trainer reads them."""
    run_folder = RunFolder.at(folder)
    prefix = f"runs/{run_folder.run_id()}"
    target = to or run_folder.path / "export" / format_.value
    with opened_store(run_folder.path) as store:
        solutions = list(read_solutions(store, prefix))
        if format_ is Format.TRL:
            count = export_trl(solutions, target)
        else:
            count = export_verl(solutions, read_problems(store, prefix), target)
    typer.echo(f"{count} rows in {target}")


@app.command(
    epilog="Examples: `retrograde verify 0.5 1/2`, `retrograde verify --jsonl answers.jsonl`, "
    "`retrograde verify --disagreements build/shadow`"
)
def verify(
    answer: Annotated[str | None, typer.Argument(help="What was answered, bare or a whole completion.")] = None,
    gold: Annotated[str | None, typer.Argument(help="The right answer; '3 7 7 -> 28' asks for an expression.")] = None,
    *,
    jsonl: Annotated[
        Path | None,
        typer.Option("--jsonl", metavar="FILE", help='Lines {"answer", "gold"} and, if known, "question".'),
    ] = None,
    disagreements: Annotated[
        str | None,
        typer.Option("--disagreements", metavar="STORE", help="URL or directory of a verifier's shadow_store."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Disagreements as lines of JSON.")] = False,
) -> None:
    """Judges answers, or lists answers on which two graders disagreed.

    Prints one JSON line for each answer, in order, with "verdict" (correct, incorrect, unparsable, timeout, error) and
    "reason". A faulty line of FILE ends it with status 2, after the verdicts of the lines before.
    """
    num_asked = sum(each is not None for each in (jsonl, answer, disagreements))
    if num_asked != 1 or (answer is None) != (gold is None):
        raise typer.BadParameter(
            "give ANSWER and GOLD, or --jsonl FILE, or --disagreements STORE", param_hint="ANSWER GOLD"
        )
    if disagreements is not None:
        list_disagreements(disagreements, results(), as_json=as_json)
        return
    pairs = read_pairs(jsonl) if jsonl else [Pair(str(answer), str(gold))]
    asyncio.run(write_verdicts(pairs, typer.get_text_stream("stdout", encoding="utf-8")))
