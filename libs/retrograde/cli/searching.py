"""`retrograde search`: one problem, its tree drawn on the terminal while it grows."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from retrograde.analysis.tables import duration
from retrograde.cli.backends import Choice, running_backends
from retrograde.cli.background import serving_addresses
from retrograde.cli.supervisor import Supervisor
from retrograde.cli.topology import Topology
from retrograde.core.problem import Problem
from retrograde.core.tree import ROOT, SearchTree
from retrograde.recipe.recipe import Recipe
from retrograde.runtime.errors import InvalidInputError
from retrograde.tasks import countdown
from retrograde.v1 import search_service_pb2
from retrograde.wire.clients import SearchClient
from retrograde.wire.convert import tree_from_proto

SERVICES = ("inference", "verifier", "search")
_SHORT_COUNTDOWN = re.compile(r"\s*(\d+(?:[ ,]+\d+)+)\s*(?:=|->)\s*(\d+)\s*")
_MOST_SHOWN = 40


def read_problem(task: str, words: str, gold: str) -> Problem:
    """The problem in `words`; Countdown's may be short, `3 7 7 = 28`. Raises InvalidInputError when gold is missing."""
    short = _SHORT_COUNTDOWN.fullmatch(words)
    if task == "countdown" and short:
        numbers = tuple(int(number) for number in short[1].replace(",", " ").split())
        return Problem("one", task, countdown.statement(numbers, int(short[2])), short[2])
    if not gold:
        raise InvalidInputError(f"--gold: the right answer to {words[:60]!r} is needed to judge terminals; give --gold")
    return Problem("one", task, words, gold)


async def search_one(recipe: Recipe, problem: Problem, folder: Path, seed: int, console: Console) -> SearchTree:
    """Searches by the recipe's settings, on the services of `folder` if they run, else on its own for this once."""
    settings = json.dumps(recipe.search.model_dump(mode="json") | {"stream_tree": console.is_terminal})
    async with _search_address(recipe, folder, console) as address, SearchClient(address) as client:
        with Drawing(console, problem) as drawing:
            async for message in client.search(problem, settings, seed):
                drawing.show(message)
    return drawing.tree


class Drawing:
    """A search as it goes on: its tree, drawn anew, on a terminal; elsewhere a line an iteration, and the tree last."""

    def __init__(self, console: Console, problem: Problem) -> None:
        self.tree = SearchTree(problem)
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._told = 0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif error is None:
            self._console.print(tree_view(self.tree))

    def show(self, message: search_service_pb2.SearchResponse) -> None:
        """Brings the picture up to date."""
        if message.HasField("tree"):
            self.tree = tree_from_proto(message.tree)
        if self._live:
            self._live.update(Group(_headline(message), tree_view(self.tree)))
        elif message.iteration > self._told:
            self._told = message.iteration
            self._console.print(_headline(message), highlight=False)


@contextlib.asynccontextmanager
async def _search_address(recipe: Recipe, folder: Path, console: Console) -> AsyncIterator[str]:
    running = serving_addresses(folder)
    if running:
        yield running["search"]
        return
    console.print("starting inference, verifier and search (`retrograde up` keeps them running)", highlight=False)
    policy = recipe.policy
    with running_backends(folder, Choice.of(folder)) as urls:
        topology = Topology(folder, urls, policy.checkpoint, policy.max_model_tokens, recipe.task, services=SERVICES)
        async with Supervisor(topology) as supervisor:
            yield supervisor.addresses["search"]


def _headline(message: search_service_pb2.SearchResponse) -> Text:
    cost = message.cost
    left = f"   {duration(message.remaining_seconds)} left" if message.remaining_seconds else ""
    return Text(
        f"iteration {message.iteration}/{message.num_iterations}   {message.num_nodes} nodes   "
        f"{message.num_correct} right   {cost.generated_tokens:,} tokens   "
        f"{message.tokens_per_second:,.0f} tokens/s   {message.num_in_flight} in flight{left}",
        style="bold",
    )


def tree_view(tree: SearchTree) -> Tree:
    """The most visited part of the tree, right terminals always included."""
    shown = _shown(tree)
    view = Tree(Text(" ".join(tree.problem.statement.split()), style="bold"))
    branches = {ROOT: view}
    for node in sorted(shown - {ROOT}):
        branches[node] = branches[tree.nodes[node].parent].add(_label(tree, node))
    hidden = len(tree.nodes) - len(shown)
    if hidden:
        view.add(Text(f"… and {hidden} less visited nodes", style="dim"))
    return view


def _shown(tree: SearchTree) -> set[int]:
    shown = {ROOT}
    order = sorted(range(len(tree.nodes)), key=lambda i: (not tree.nodes[i].is_correct, -tree.nodes[i].visits, i))
    for node in order:
        path = set(tree.path(node))
        if len(shown | path) <= _MOST_SHOWN:
            shown |= path
    return shown


def _label(tree: SearchTree, index: int) -> Text:
    node = tree.nodes[index]
    style = "green" if node.is_correct else "red" if node.is_terminal else ""
    label = Text(" ".join(node.step.split()), style=style)
    return label.append(f"   N {node.visits}  Q {node.value:.2f}  P {node.prior:.2f}", style="dim")
