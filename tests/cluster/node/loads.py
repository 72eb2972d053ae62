"""Clients at work until they are told to stop: `python -m tests.cluster.node.loads SERVICE FOLDER`, on the node.

They wait for a service that is away as our clients do, and no longer. A call that fails, or a run that has lost or
doubled something, ends the process with its error.

    FOLDER/begun    is made once the first call was answered
    FOLDER/*.ended  is made, for each run, once it ended whole
    FOLDER/stop     ends them, after the call and the run that they are at
    stdout          how much they did, as JSON
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml
from rich.console import Console

from retrograde.cli.progress import RunProgress
from retrograde.cli.running import shown_to_its_end
from retrograde.cli.submitting import read_submitted
from retrograde.cli.tree_checks import check_tree
from retrograde.core.policy import Prompt, Sampling
from retrograde.core.problem import Problem
from retrograde.core.settings import RlSettings, SearchSettings
from retrograde.core.solution import Rewriter
from retrograde.core.tree import SearchTree
from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import load_task
from retrograde.v1 import tree_pb2
from retrograde.wire.clients import InferenceClient, RewriterClient, RolloutsClient, TrainerClient, VerifierClient
from retrograde.wire.convert import tree_from_proto, tree_to_proto
from services.search.probe import ProbeSettings, probe
from services.trainer.job.feed import GrpcFeed
from services.trainer.job.settings import GrpoJobSettings
from services.trainer.stages.stage import problems_from_bytes, problems_to_bytes

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "tests" / "data" / "kubernetes" / "drill.yaml"
CHECKPOINT = "/app/models/countdown-base"
STATEMENT, ANSWER = "Numbers: 3 7 7, target: 28.", "28"
GROUP_SIZE = 4
_PAUSE_SECONDS = 0.05
_SEARCH = SearchSettings(
    num_iterations=5, num_actions=4, num_rollouts=2, max_depth=4, max_step_tokens=24, max_rollout_tokens=48
)


@dataclass
class Work:
    """What the clients of one load share."""

    name: str
    folder: Path
    done: Counter[str] = field(default_factory=Counter)

    @property
    def goes_on(self) -> bool:
        return not (self.folder / "stop").exists()

    @cached_property
    def store(self) -> ObjectStore:
        """The release's bucket, with the keys of k8s/dev."""
        secret = next(yaml.safe_load_all((ROOT / "k8s" / "dev" / "minio.yaml").read_text(encoding="utf-8")))
        for name, value in secret["stringData"].items():
            (self.folder / name).write_text(value, encoding="utf-8")
        keys = "&".join(f"{name}_file={self.folder / name}" for name in secret["stringData"])
        return open_store(f"s3://retrograde?endpoint=http://minio:9000&{keys}")

    def note(self, what: str) -> None:
        """Counts a call that was answered."""
        self.done[what] += 1
        (self.folder / "begun").touch()

    async def answered(self, what: str) -> None:
        """Counts a call; the next one comes a moment later."""
        self.note(what)
        await asyncio.sleep(_PAUSE_SECONDS)


def at(service: str) -> str:
    return f"retrograde-{service}:50051"


async def verify(work: Work) -> None:
    """As search, rewriter and rollouts do."""
    problem = Problem("p", "countdown", STATEMENT, ANSWER)
    async with VerifierClient(at("verifier")) as client:
        while work.goes_on:
            await client.verify([(problem, "3*7+7 = 28")])
            await work.answered("verify")


async def generate(work: Work) -> None:
    """As search and rollouts do."""
    async with InferenceClient(f"dns:///{at('inference')}") as client:
        while work.goes_on:
            generation = await client.generate(Prompt(STATEMENT), Sampling(n=2, max_tokens=16))
            assert len(generation.completions) == 2
            await work.answered("generate")


async def search(work: Work) -> None:
    """As `helm test` does."""
    while work.goes_on:
        await _searched()
        await work.answered("search")


async def linearize(work: Work) -> None:
    """As whoever asks for walks over a stored tree, and for words."""
    key = "drills/tree.pb"
    data = tree_to_proto(await _searched()).SerializeToString()
    await asyncio.to_thread(work.store.put, key, data)
    async with RewriterClient(at("rewriter")) as client:
        while work.goes_on:
            traces, _ = await client.linearize(key, json.dumps({"self_evaluation_samples": 0}))
            for trace in traces[:1]:
                await client.rewrite(trace, Rewriter.TEMPLATE)
            await work.answered("linearize")


async def list_runs(work: Work) -> None:
    """As a person does."""
    async with TrainerClient(at("trainer")) as client:
        while work.goes_on:
            await client.list_runs()
            await work.answered("list_runs")


async def pull(work: Work) -> None:
    """As a training job does; in the end the feed counts each group that came, once."""
    problems = list(load_task("countdown").problems({"num_numbers": 3, "count": 64}, "rl", 1))
    await asyncio.to_thread(work.store.put, "drills/prompts.jsonl", problems_to_bytes(problems))
    leases = await asyncio.to_thread(_pull, work)
    async with RolloutsClient(at("rollouts")) as client:
        counted = await client.ack("drills/feed", [next(iter(leases.values()))])
    assert counted == len(leases), f"{len(leases)} groups were used, the feed counts {counted}"


def _pull(work: Work) -> dict[str, str]:
    """The lease of each group."""
    unused = dict.fromkeys(("store", "init_checkpoint", "output_key", "job_key", "policies_key"), "unused")
    places = {"rollouts": at("rollouts"), "feed": "drills/feed", "prompts_key": "drills/prompts.jsonl"}
    sampled = RlSettings(group_size=GROUP_SIZE, max_tokens=48)
    leases: dict[str, str] = {}
    with GrpcFeed(GrpoJobSettings(**unused, **places, work_dir=work.folder, rl=sampled)) as feed:
        feed.open()
        while work.goes_on:
            groups = feed.pull(2, 0)
            assert [len(group.samples) for group in groups] == [GROUP_SIZE] * 2
            assert not leases.keys() & {group.id for group in groups}, "a group came again that was acknowledged"
            feed.ack([group.lease_id for group in groups])
            leases |= {group.id: group.lease_id for group in groups}
            work.note("pull")
    return leases


async def runs(work: Work) -> None:
    """One run after the other; each leaves one sound tree and one set of solutions for each of its problems."""
    recipe = yaml.safe_dump(read_submitted(RECIPE, CHECKPOINT).model_dump(mode="json"), sort_keys=False)
    async with TrainerClient(at("trainer")) as client:
        while work.goes_on or not work.done["runs"]:
            run_id = f"{work.name}-{work.done['runs']}"
            await client.create_run(run_id, recipe)
            await work.answered("create_run")
            with RunProgress(Console(file=io.StringIO())) as progress:
                while not await shown_to_its_end(client, run_id, progress):
                    await asyncio.sleep(1.0)
                    await client.get_run(run_id)  # patient, as `retrograde submit --watch` is
            work.done["trees"] += await asyncio.to_thread(_check, work.store, run_id)
            work.done["runs"] += 1
            (work.folder / f"{run_id}.ended").touch()


def _check(store: ObjectStore, run_id: str) -> int:
    """How many problems the run had."""
    problems = {each.id for each in problems_from_bytes(store.get(f"runs/{run_id}/problems/search.jsonl"))}
    assert problems
    for folder in ("trees", "solutions"):
        prefix = f"runs/{run_id}/{folder}/"
        stored = {key.removeprefix(prefix).removesuffix(".pb") for key in store.list(prefix)}
        assert stored == problems, f"{prefix}: {stored ^ problems} is there or in problems/, and not in both"
    for problem_id in problems:
        key = f"runs/{run_id}/trees/{problem_id}.pb"
        tree = tree_from_proto(tree_pb2.SearchTree.FromString(store.get(key)))
        assert tree.problem.id == problem_id
        assert not (faults := check_tree(tree)), f"{key}: {faults}"
    return len(problems)


async def _searched() -> SearchTree:
    patient = {"search": _SEARCH, "deadline_seconds": 600.0}
    return await probe(ProbeSettings(address=at("search"), statement=STATEMENT, gold=ANSWER, **patient))


LOADS: Mapping[str, tuple[Callable[[Work], Coroutine[None, None, None]], ...]] = {
    "verifier": (verify,),
    "inference": (generate,),
    "search": (search, runs),
    "rewriter": (linearize, runs),
    "rollouts": (pull,),
    "trainer": (list_runs, runs),
    "drain": (verify, runs),
    "scale-in": (runs,),
    "kill": (runs,),
    "memory": (runs,),
}
"""By the name of the load: of the service whose clients they are, or of the drill."""


async def main(name: str, folder: Path) -> None:
    """All clients of a load, until they have stopped."""
    work = Work(name, folder)
    async with asyncio.TaskGroup() as group:
        for each in LOADS[name]:
            group.create_task(each(work))
    sys.stdout.write(json.dumps(work.done))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
