"""One schedule: from a seed to a history and what the checker says of it. The same seed gives the same history.

A schedule ends when the data set is chosen, every message is committed and every process has left on SIGTERM; or, in
vain, so many simulated seconds after the weather became calm for good.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from unittest import mock

from retrograde.core.tree import SearchTree
from retrograde.v1 import tree_pb2
from retrograde.wire.convert import tree_from_proto
from services.rewriter.worker import GROUP as REWRITERS
from services.rewriter.worker import TREES_TOPIC
from services.search.worker import GROUP as SEARCHERS
from services.search.worker import PROBLEMS_TOPIC
from tests.simulation.checker import Checker, Expected
from tests.simulation.pipeline import RUN, Scene, Site
from tests.simulation.weather import CALM, Weather
from tests.simulation.world import Event, World

BOUND_SECONDS = 150.0
EPOCH_SECONDS = 1_700_000_000.0
ROUGH_SHARE = 2.0
TRACE_EVENTS = 25

Planted = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one schedule."""

    seed: int
    scene: Scene
    weather: Weather
    history: list[Event]
    violations: list[str]

    @property
    def digest(self) -> str:
        """Of all that happened, in order."""
        return hashlib.sha256("\n".join(map(repr, self.history)).encode()).hexdigest()

    def report(self) -> str:
        """The violations, how to see them again, and the end of the story."""
        trace = (
            f"  {at:9.3f} {who:14} {what:10} {key} {str(detail)[:60]}" for at, who, what, key, detail, _ in self.last
        )
        head = f"seed {self.seed}: make chaos SCHEDULES=1 SEED={self.seed}\n{self.scene}\n{self.weather}"
        return "\n".join([head, *self.violations, f"the last {len(self.last)} events:", *trace])

    @property
    def last(self) -> list[Event]:
        """The end of the history."""
        return self.history[-TRACE_EVENTS:]


def play(seed: int, planted: Planted = contextlib.nullcontext) -> Outcome:
    """The schedule of `seed`; inside `planted()`, if it is a bug's."""
    rng = random.Random(seed)
    scene = Scene.drawn(rng)
    expected = calm(scene.task)
    weather = Weather.drawn(rng, int(ROUGH_SHARE * expected.num_steps))
    with planted():
        site, reached = _run(rng, scene, weather)
    checker = Checker(expected, site.cluster)
    violations = [] if reached else [f"no end within {BOUND_SECONDS:.0f} s of calm"]
    violations += [f"fault in the loop: {error['message']}" for error in site.world.loop.errors]
    violations += checker.check(site.world.history)
    return Outcome(seed, scene, weather, site.world.history, violations)


@cache
def calm(task: Scene) -> Expected:
    """What comes of a scene that nothing disturbs."""
    site, _ = _run(random.Random(0), task, CALM)
    objects = site.cluster.objects
    trees = {key: _tree(data) for key, data in objects.items() if "/trees/" in key}
    asked = frozenset(event.key for event in site.world.history if event.what == "ask")
    datasets = {key: data for key, data in objects.items() if "/datasets/" in key}
    return Expected(RUN, task, trees, datasets, asked, site.world.loop.num_steps)


def _tree(data: bytes) -> SearchTree:
    return tree_from_proto(tree_pb2.SearchTree.FromString(data))


def _run(rng: random.Random, scene: Scene, weather: Weather) -> tuple[Site, bool]:
    """The site at the end, and whether that is where it should end."""
    world = World(rng, weather)
    with _simulated(world), world.loop.running():
        site = Site(world, scene)
        site.begin()
        reached = _until(world, lambda: site.is_chosen and _is_settled(site))
        world.drain()
        reached = reached and _until(world, lambda: all(life.ended for life in world.processes.values()))
    return site, reached


def _until(world: World, reached: Callable[[], bool]) -> bool:
    while not reached():
        is_late = world.calm_since is not None and world.loop.time() > world.calm_since + BOUND_SECONDS
        if is_late or not world.step():
            return False
    return True


def _is_settled(site: Site) -> bool:
    cluster = site.cluster
    return not cluster.lag(PROBLEMS_TOPIC, SEARCHERS) and not cluster.lag(TREES_TOPIC, REWRITERS)


@contextlib.contextmanager
def _simulated(world: World) -> Iterator[None]:
    """Inside, clocks and chance are the world's, and nobody writes a log."""
    rng, now = world.rng, world.loop.time
    with contextlib.ExitStack() as stack:
        for module, name, stand_in in (
            (time, "monotonic", now),
            (time, "time", lambda: EPOCH_SECONDS + now()),
            (time, "time_ns", lambda: int((EPOCH_SECONDS + now()) * 1e9)),
            (random, "uniform", rng.uniform),
            (random, "getrandbits", rng.getrandbits),
            (secrets, "token_hex", lambda num_bytes: rng.randbytes(num_bytes).hex()),
            (uuid, "uuid4", lambda: uuid.UUID(int=rng.getrandbits(128), version=4)),
        ):
            stack.enter_context(mock.patch.object(module, name, stand_in))
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
