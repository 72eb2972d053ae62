"""The self-evaluation filter: the policy judges its own correct solutions (paper, section on linearization).

Candidates are judged best first, N times each in one request of n = N, until one passes with all N agreeing: the walks
need no other. Judgements are stored beside the tree, so that further walks from it ask the model nothing again.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field

from retrograde.core.linearize import ranked_correct
from retrograde.core.policy import Policy, Prompt, Sampling
from retrograde.core.problem import Cost
from retrograde.core.tree import SearchTree
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import NotFoundError
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import Task
from services.rewriter import metrics
from services.rewriter.meter import Meter, seed_of

# Room for the few words that mean yes, whatever the tokenizer (ours).
MAX_JUDGEMENT_TOKENS = 16

_TREE_KEY = re.compile(r"(runs/[^/]+)/trees/(.+)\.pb")


@dataclass(slots=True)
class Judgements:
    """How many of `num_samples` judgements said yes to each correct terminal that was judged."""

    num_samples: int
    agreeing: dict[int, int] = field(default_factory=dict)
    policy_version: int = 0
    cost: Cost = field(default_factory=Cost)

    @property
    def accepted(self) -> set[int]:
        """Terminals to which all judgements said yes."""
        return {node for node, count in self.agreeing.items() if count == self.num_samples}

    @property
    def num_refused(self) -> int:
        """Terminals judged that at least one judgement said no to."""
        return len(self.agreeing) - len(self.accepted)


class Judge:
    """Judges the trees of a store."""

    def __init__(self, policy: Policy, store: ObjectStore) -> None:
        self._policy = policy
        self._store = store

    async def judge(self, tree: SearchTree, tree_key: str, task: Task, num_samples: int) -> Judgements:
        """The judgements of the tree at `tree_key`, stored ones if there are any of `num_samples`."""
        key = judgements_key(tree_key)
        stored = await in_thread(self._read, key) if key else None
        if stored is not None and stored.num_samples == num_samples:
            return stored
        judgements = await self._ask(tree, task, num_samples)
        if key:
            await in_thread(self._store.put, key, json.dumps(asdict(judgements)).encode())
        return judgements

    def _read(self, key: str) -> Judgements | None:
        try:
            data = json.loads(self._store.get(key))
        except NotFoundError:
            return None
        agreeing = {int(node): int(count) for node, count in data["agreeing"].items()}
        return Judgements(data["num_samples"], agreeing, data["policy_version"], Cost(**data["cost"]))

    async def _ask(self, tree: SearchTree, task: Task, num_samples: int) -> Judgements:
        meter = Meter(self._policy)
        agreeing: dict[int, int] = {}
        for node in ranked_correct(tree):
            agreeing[node] = await _num_agreeing(meter, tree, node, task, num_samples)
            passed = agreeing[node] == num_samples
            metrics.JUDGED.labels(outcome="accepted" if passed else "refused").inc()
            if passed:
                break
        return Judgements(num_samples, agreeing, meter.policy_version, meter.cost)


async def _num_agreeing(meter: Meter, tree: SearchTree, node: int, task: Task, num_samples: int) -> int:
    text, yes = task.judge_prompt(tree.problem, "".join(tree.steps(node)))
    seed = seed_of(tree.provenance.seed, tree.problem.id, "judge", node)
    sampling = Sampling(n=num_samples, max_tokens=MAX_JUDGEMENT_TOKENS, stop=task.stop, seed=seed)
    generation = await meter.generate(Prompt(text, chat=task.chat), sampling)
    return sum(says(completion.text, yes) for completion in generation.completions) if generation else 0


def says(answer: str, yes: str) -> bool:
    """Whether `answer` begins with `yes`, whatever their case and the white space before."""
    return answer.lstrip().casefold().startswith(yes.strip().casefold())


def judgements_key(tree_key: str) -> str:
    """Where the judgements of a tree are kept; "" for a tree that lies outside of a run."""
    match = _TREE_KEY.fullmatch(tree_key)
    return f"{match[1]}/judgements/{match[2]}.json" if match else ""
