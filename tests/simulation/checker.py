"""What must hold of every history, whatever befell the processes.

Over all events of the ports, in order:

    a tree is announced once it is stored, its solutions likewise; what is announced again is the same
    a stored tree stays the tree it is, whoever stores it again (the seconds it took may differ)
    a committed position never passes a message that is not finished
    only questions of the undisturbed run are asked
    a question with a durable answer is not asked again by whoever opened the log since
    no more questions of a tree wait for a durable answer than may be in flight
    a worker whose tree was taken over soon asks nothing any more; so does one that knows that its partition moved

And of what is there in the end: every problem has exactly one tree or lies in the dead-letter topic, every tree has
exactly one set of solutions, trees and data sets are those of the undisturbed run, no log is left.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from retrograde.core.tree import SearchTree
from retrograde.runtime.broker import DLQ_SUFFIX, Message
from retrograde.v1 import messages_pb2, tree_log_pb2, tree_pb2
from retrograde.wire.convert import tree_from_proto
from services.rewriter.worker import SOLUTIONS_TOPIC, TREES_TOPIC
from services.search.driver import call_seed
from services.search.worker import PROBLEMS_TOPIC
from tests.simulation.pipeline import POISON, Scene
from tests.simulation.ports import Cluster
from tests.simulation.world import Event

MOST_CALLS = 40
FENCE_SECONDS = 6.0  # CHECK_SECONDS, an append, and what a slow network adds
REVOKE_SECONDS = 3.0  # from the answer that tells of it, which may travel slowly, to the end of its handlers


@dataclass(frozen=True, slots=True)
class Expected:
    """What comes of the undisturbed run."""

    run_id: str
    task: Scene
    trees: Mapping[str, SearchTree]
    datasets: Mapping[str, bytes]
    asked: frozenset[str]
    num_steps: int


@dataclass
class Attempt:
    """One opening of a tree's log."""

    opened_at: float
    rank: str  # epoch and attempt: the greater is the newer
    known: frozenset[int]  # durable when it was read
    waiting: set[int] = field(default_factory=set)  # asked, not durable


@dataclass
class Log:
    """Of one tree: what is durable, and who is at it."""

    durable: set[int] = field(default_factory=set)
    newest: str = ""
    taken_over_at: float = 0.0
    is_gone: bool = False  # deleted: a put on its way may bring a stale segment back, which then looks like the newest
    listed: dict[str, frozenset[int]] = field(default_factory=dict)  # by cause: durable when it last looked
    by_cause: dict[str, Attempt] = field(default_factory=dict)  # the last
    by_rank: dict[str, Attempt] = field(default_factory=dict)


class Checker:
    """Reads one history."""

    def __init__(self, expected: Expected, cluster: Cluster) -> None:
        self._expected = expected
        self._cluster = cluster
        self._prefix = f"runs/{expected.run_id}"
        self._logs: defaultdict[str, Log] = defaultdict(Log)
        self._stored: set[str] = set()
        self._trees: dict[str, SearchTree] = {}
        self._said: dict[tuple[str, str], bytes] = {}  # announcements by topic and problem
        self._dead: set[tuple[str, int, int]] = set()  # dead-lettered messages
        self._dead_ids: set[str] = set()
        self._positions: dict[tuple[str, str, int], int] = {}
        self._awake_since: dict[str, float] = {}
        self._lost_at: dict[tuple[str, int], float] = {}  # by process and partition: when it was told
        self._calls = _calls(expected.task)

    def check(self, history: Sequence[Event]) -> list[str]:
        """Each violation in words; [] if there is none."""
        found = []
        for event in history:
            reader = getattr(self, f"_on_{event.what}", None)
            if reader is not None:
                found += [f"{event.at:.3f} {event.who}: {fault}" for fault in reader(event)]
        return found + list(self._in_the_end())

    # Events, by name

    def _on_put(self, event: Event) -> Iterator[str]:
        self._stored.add(event.key)
        folder, _, name = event.key.removeprefix(f"{self._prefix}/").partition("/")
        if folder == "trees":
            yield from self._put_tree(event)
        elif folder == "tree-logs":
            self._put_segment(event, *name.split("/"))

    def _put_tree(self, event: Event) -> Iterator[str]:
        tree = tree_from_proto(tree_pb2.SearchTree.FromString(event.detail))
        before = self._trees.setdefault(event.key, tree)
        if not same(before, tree):
            yield f"{event.key} was changed after it was stored"
        log = self._logs[tree.problem.id]
        log.durable.update(range(MOST_CALLS))

    def _put_segment(self, event: Event, problem_id: str, name: str) -> None:
        log = self._logs[problem_id]
        rank = name[:15]
        attempt = log.by_rank.get(rank)
        if attempt is None:
            attempt = log.by_rank[rank] = Attempt(event.at, rank, log.listed.get(event.cause, frozenset()))
            if rank > log.newest:
                log.newest, log.taken_over_at, log.is_gone = rank, event.at, False
                log.durable = set(attempt.known)  # what came after it looked was in flight
        log.by_cause[event.cause] = attempt
        records = tree_log_pb2.TreeLogSegment.FromString(event.detail).records
        indices = {record.call_index for record in records}
        if rank == log.newest:
            log.durable |= indices
        attempt.waiting -= indices

    def _on_delete(self, event: Event) -> Iterator[str]:
        folder, _, name = event.key.removeprefix(f"{self._prefix}/").partition("/")
        if folder == "tree-logs":
            self._logs[name.partition("/")[0]].is_gone = True
        yield from ()

    def _on_list(self, event: Event) -> Iterator[str]:
        folder, _, rest = event.key.removeprefix(f"{self._prefix}/").partition("/")
        if folder == "tree-logs":
            log = self._logs[rest.rstrip("/")]
            log.listed[event.cause] = frozenset(log.durable)
        yield from ()

    def _on_ask(self, event: Event) -> Iterator[str]:
        if event.key not in self._expected.asked:
            yield f"question {event.key} is none of the undisturbed run"
        if event.key not in self._calls:  # a judgement
            return
        problem_id, index = self._calls[event.key]
        log = self._logs[problem_id]
        attempt = log.by_cause.get(event.cause)
        if attempt is None:
            yield f"{problem_id}: call {index} is asked without a log"
            return
        if index in attempt.known:
            yield f"{problem_id}: call {index} is asked again, it was durable when the log was opened"
        attempt.waiting.add(index)
        if len(attempt.waiting) > self._expected.task.max_in_flight:
            yield f"{problem_id}: {sorted(attempt.waiting)} are asked and not durable"
        since = max(log.taken_over_at, attempt.opened_at, self._awake_since.get(event.who, 0.0))
        if attempt.rank < log.newest and not log.is_gone and event.at > since + FENCE_SECONDS:
            yield f"{problem_id}: call {index} is asked, the tree was taken over at {log.taken_over_at:.3f}"

        part = self._partition(problem_id)
        since = max(self._lost_at.get((event.who, part), event.at), self._awake_since.get(event.who, 0.0))
        if event.at > since + REVOKE_SECONDS:
            yield f"{problem_id}: call {index} is asked, partition {part} went to others at {since:.3f}"

    def _partition(self, problem_id: str) -> int:
        key = f"{self._expected.run_id}/{problem_id}"
        return zlib.crc32(key.encode()) % len(self._cluster.topics[PROBLEMS_TOPIC])

    def _on_holds(self, event: Event) -> Iterator[str]:
        if event.key == PROBLEMS_TOPIC:
            for part in range(len(self._cluster.topics[PROBLEMS_TOPIC])):
                if part in event.detail:
                    self._lost_at.pop((event.who, part), None)
                else:
                    self._lost_at.setdefault((event.who, part), event.at)
        yield from ()

    def _on_awake(self, event: Event) -> Iterator[str]:
        self._awake_since[event.who] = event.at
        yield from ()

    def _on_publish(self, event: Event) -> Iterator[str]:
        message: Message = event.detail
        if event.key.endswith(DLQ_SUFFIX):
            headers = message.headers
            where = (headers["x-original-topic"], int(headers["x-original-partition"]))
            self._dead.add((*where, int(headers["x-original-offset"])))
            self._dead_ids.add(_problem_id(headers["x-original-topic"], message))
            return
        problem_id = _problem_id(event.key, message)
        made = _made(event.key, message)
        if made and made not in self._stored:
            yield f"{problem_id} is announced in {event.key}, {made} is not stored"
        if self._said.setdefault((event.key, problem_id), message.value) != message.value:
            yield f"{problem_id} is announced in {event.key} again, and differently"

    def _on_commit(self, event: Event) -> Iterator[str]:
        group, part, after = event.detail
        before = self._positions.get((event.key, group, part), 0)
        self._positions[event.key, group, part] = max(before, after)
        for message in self._cluster.topics[event.key][part][before:after]:
            if not self._is_finished(message):
                yield f"{event.key}/{part} at {message.offset} is committed, it is not finished"

    def _is_finished(self, message: Message) -> bool:
        following = {PROBLEMS_TOPIC: TREES_TOPIC, TREES_TOPIC: SOLUTIONS_TOPIC}.get(message.topic)
        said = following and (following, _problem_id(message.topic, message)) in self._said
        return bool(said) or (message.topic, message.partition, message.offset) in self._dead or not following

    # In the end

    def _in_the_end(self) -> Iterator[str]:
        objects, wanted = self._cluster.objects, {problem.id for problem in self._expected.task.problems}
        trees, solutions = self._ids(objects, "trees"), self._ids(objects, "solutions")
        for problem_id in sorted(wanted | set(trees) | self._dead_ids):
            ends = trees.count(problem_id) + (problem_id in self._dead_ids)
            if ends != 1 or problem_id not in wanted:
                yield f"{problem_id} has {trees.count(problem_id)} trees, dead-lettered: {problem_id in self._dead_ids}"
        if solutions != trees:
            yield f"solutions of {solutions}, trees of {trees}"
        for key, tree in self._expected.trees.items():
            if key in self._trees and not same(self._trees[key], tree):
                yield f"{key} is not the tree of the undisturbed run"
        for key, data in self._expected.datasets.items():
            if objects.get(key) != data:
                yield f"{key} is not that of the undisturbed run"

    def _ids(self, objects: Mapping[str, bytes], folder: str) -> list[str]:
        prefix = f"{self._prefix}/{folder}/"
        return sorted(key.removeprefix(prefix).removesuffix(".pb") for key in objects if key.startswith(prefix))


def same(one: SearchTree, other: SearchTree) -> bool:
    """Whether two trees differ in nothing but the seconds they took."""
    costs = [
        (cost.generated_tokens, cost.prompt_tokens, cost.verifier_calls)
        for cost in (one.provenance.cost, other.provenance.cost)
    ]
    return one.nodes == other.nodes and one.num_iterations == other.num_iterations and costs[0] == costs[1]


def _calls(task: Scene) -> dict[str, tuple[str, int]]:
    return {
        str(call_seed(task.recipe.seed, problem.id, index)): (problem.id, index)
        for problem in task.problems
        if problem != POISON
        for index in range(MOST_CALLS)
    }


def _problem_id(topic: str, message: Message) -> str:
    match topic:
        case "retrograde.problems.v1":
            return messages_pb2.ProblemQueued.FromString(message.value).problem.id
        case "retrograde.trees.v1":
            return messages_pb2.TreeReady.FromString(message.value).problem_id
        case _:
            return messages_pb2.SolutionsReady.FromString(message.value).problem_id


def _made(topic: str, message: Message) -> str:
    match topic:
        case "retrograde.trees.v1":
            return messages_pb2.TreeReady.FromString(message.value).tree_key
        case "retrograde.solutions.v1":
            return messages_pb2.SolutionsReady.FromString(message.value).solutions_key
        case _:
            return ""
