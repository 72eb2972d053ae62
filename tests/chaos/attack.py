"""Two runs of one recipe: a calm one, and one whose services are killed at each of their points (kill_points.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from retrograde.cli.servers.kafka_server import KafkaServer
from retrograde.cli.servers.minio_server import MinioServer
from retrograde.core.tree import SearchTree
from retrograde.v1 import tree_pb2
from retrograde.wire.convert import tree_from_proto
from tests.chaos.crew import RUN_ID, Crew, scripted_engine
from tests.chaos.kill_points import PLANS

NUM_PROBLEMS = 48
CALL_SECONDS = 0.02
SURVIVED = "as the calm run"


@contextlib.contextmanager
def calm_run(folder: Path) -> Iterator[Crew]:
    """On the embedded broker and store, undisturbed, finished."""
    folder.mkdir()
    with scripted_engine(folder, CALL_SECONDS) as engine:
        crew = Crew(folder, f"sqlite://{folder}/broker.db", f"file://{folder}/store", engine, NUM_PROBLEMS)
        with contextlib.closing(crew):
            crew.begin()
            crew.finish()
            crew.rest()
            yield crew


@contextlib.contextmanager
def attacked_run(folder: Path, kafka: KafkaServer, minio: MinioServer) -> Iterator[Crew]:
    """On the servers, finished after every service died at each of its points and was started again."""
    folder.mkdir()
    with scripted_engine(folder, CALL_SECONDS) as engine:
        broker = f"{kafka.url}?session_seconds=2"
        crew = Crew(folder, broker, minio.url("kills"), engine, NUM_PROBLEMS)
        with contextlib.closing(crew):
            crew.begin(PLANS)
            crew.finish()
            crew.rest()
            yield crew


def trees(crew: Crew) -> dict[str, SearchTree]:
    """All of the run, by key."""
    keys = crew.store.list(f"runs/{RUN_ID}/trees/")
    return {key: tree_from_proto(tree_pb2.SearchTree.FromString(crew.store.get(key))) for key in keys}


def outcomes(calm: Crew, attacked: Crew) -> dict[str, dict[str, str]]:
    """What became of the run after each kill, by service and point."""
    nodes = [{key: tree.nodes for key, tree in trees(crew).items()} for crew in (calm, attacked)]
    is_same = nodes[0] == nodes[1] and calm.data_sets() == attacked.data_sets()
    survived = SURVIVED if is_same else f"not {SURVIVED}"
    return {
        name: {point: survived if point in attacked.services[name].died_at else "not reached" for point in plan}
        for name, plan in PLANS.items()
    }


def outcomes_in(folder: Path) -> dict[str, dict[str, str]]:
    """Both runs, on servers of their own, and what became of each kill."""
    with (
        KafkaServer(folder / "kafka") as kafka,
        MinioServer(folder / "minio") as minio,
        calm_run(folder / "calm") as calm,
        attacked_run(folder / "attacked", kafka, minio) as attacked,
    ):
        return outcomes(calm, attacked)
