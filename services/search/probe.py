"""`python -m services.search.probe --config FILE`: one search through a running platform, as `helm test` does it.

    problem -> search service -> inference (steps, rollouts) -> verifier (grades) -> tree

Prints the tree's figures. Status 0 when a tree came back whose ends are graded, 1 when none did in time.
"""

from __future__ import annotations

import asyncio
import sys

from pydantic import BaseModel, ConfigDict, Field

from retrograde.core.problem import Problem, Verdict
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.runtime.errors import RetrogradeError, UnavailableError
from retrograde.runtime.settings import Address, load_settings
from retrograde.runtime.tls import Identity, TlsSettings
from retrograde.wire.clients import SearchClient
from retrograde.wire.convert import tree_from_proto

_PAUSE_SECONDS = 1.0


class ProbeSettings(BaseModel):
    """Which service is asked what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Address = Field(description="host:port of the search service.")
    tls: TlsSettings | None = Field(None, description="What this client shows; without, it speaks plaintext.")
    task: str = Field("countdown", description="Whose verdicts count.")
    statement: str = Field(description="The problem, in the words of its task.")
    gold: str = Field(description="The right answer.")
    search: SearchSettings = SearchSettings()
    deadline_seconds: float = Field(300.0, gt=0, description="Longest it may all take, services that start included.")


async def probe(settings: ProbeSettings) -> SearchTree:
    """The tree. Raises UnavailableError when none came in time that is graded, and the service's errors."""
    identity = Identity.of(settings.tls) if settings.tls else None
    problem = Problem("probe", settings.task, settings.statement, settings.gold)
    try:
        async with (
            asyncio.timeout(settings.deadline_seconds),
            SearchClient(settings.address, identity=identity) as client,
        ):
            while True:
                try:
                    return await _search(client, problem, settings.search)
                except UnavailableError as error:
                    _say(f"not yet: {error}")
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        raise UnavailableError(f"no tree from {settings.address} in {settings.deadline_seconds:g} s") from None


async def _search(client: SearchClient, problem: Problem, search: SearchSettings) -> SearchTree:
    async for message in client.search(problem, search.model_dump_json()):
        if message.HasField("tree"):
            return _graded(tree_from_proto(message.tree))
    raise UnavailableError("the search ended without a tree")


def _graded(tree: SearchTree) -> SearchTree:
    """The tree itself. Raises UnavailableError where the verifier gave no verdict on an end."""
    for node in tree.nodes:
        if node.grade and node.grade.verdict in {Verdict.TIMEOUT, Verdict.ERROR}:
            raise UnavailableError(f"an end has no verdict: {node.grade.verdict.value}; is the verifier healthy?")
    return tree


def main() -> None:
    """Searches and says what came of it."""
    try:
        tree = asyncio.run(probe(load_settings(ProbeSettings)))
    except RetrogradeError as error:
        _say(f"error: {error}")
        raise SystemExit(1) from None
    ends = [node for node in tree.nodes if node.is_terminal]
    correct = [node for node in ends if node.is_correct]
    _say(f"{len(tree.nodes)} nodes, {len(ends)} ends graded, {len(correct)} right")
    raise SystemExit(0 if ends else 1)


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")


if __name__ == "__main__":
    main()
