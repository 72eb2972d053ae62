"""Every service of the work plane killed with -9 at named points, one after the other, on real servers.

    calm       the run on the embedded broker and store, undisturbed
    attacked   the same run on Kafka and MinIO: each service dies at each of its points (kill_points.py) and is started
               again, all of them at the same time, while the trainer takes problems to trees, solutions and data sets

Two poison messages are among the work. `pytest -s` shows the figures.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrograde.cli.servers.kafka_server import KafkaServer
from retrograde.cli.servers.minio_server import MinioServer
from retrograde.cli.servers.obtain import kafka_libs, minio_binary
from retrograde.runtime.dead_letters import open_letters
from retrograde.wire.topics import PROBLEMS_TOPIC, TREES_TOPIC
from tests.chaos.attack import attacked_run, trees
from tests.chaos.crew import POISON, Crew, rows_of
from tests.chaos.kill_points import PLANS
from tests.servers import need

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.minio, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def attacked(runs: Path) -> Iterator[Crew]:
    need(kafka_libs)
    need(minio_binary)
    with KafkaServer(runs / "kafka") as kafka, MinioServer(runs / "minio") as minio:
        started = time.monotonic()
        with attacked_run(runs / "attacked", kafka, minio) as crew:
            figures = {name: len(each.died_at) for name, each in crew.services.items()}
            print(json.dumps(figures | {"seconds": round(time.monotonic() - started)}))  # noqa: T201
            yield crew


@pytest.mark.parametrize("service", PLANS)
def test_each_point_was_reached(attacked: Crew, service: str) -> None:
    """The service was killed at each of its points, of which there are at least ten."""
    assert attacked.services[service].died_at == list(PLANS[service])
    assert len(set(PLANS[service])) >= 10


def test_the_training_sets_are_those_of_the_calm_run(calm: Crew, attacked: Crew) -> None:
    """Byte for byte, and with something in them."""
    assert attacked.data_sets() == calm.data_sets()
    assert min(len(rows_of(data)) for data in calm.data_sets().values()) > 10


def test_the_trees_are_those_of_the_calm_run(calm: Crew, attacked: Crew) -> None:
    """One of every problem, node for node; no log is left behind."""
    ours, theirs = trees(attacked), trees(calm)
    assert {key: tree.nodes for key, tree in ours.items()} == {key: tree.nodes for key, tree in theirs.items()}
    assert len(ours) == calm.num_problems
    assert attacked.num_stored("tree-logs") == 0


def test_every_tree_was_told_once(attacked: Crew) -> None:
    """As many sets of solutions as trees, and no row of a training set twice."""
    assert attacked.num_stored("solutions") == attacked.num_problems
    for data in attacked.data_sets().values():
        assert set(Counter(row["id"] for row in rows_of(data)).values()) == {1}


@pytest.mark.parametrize("topic", [PROBLEMS_TOPIC, TREES_TOPIC])
def test_poison_alone_is_a_dead_letter(attacked: Crew, topic: str) -> None:
    """One message was given up: the poison, byte for byte, by whichever lives came to it."""
    letters = open_letters(attacked.broker, topic)
    assert {letter.value for letter in letters} == {POISON}
    places = {(letter.headers["x-original-partition"], letter.headers["x-original-offset"]) for letter in letters}
    assert len(places) == 1
