"""How a queue's throughput grows with its workers: real processes, tasks of a fixed 100 ms, four at a time in each.

Rates are taken while all workers are at work: from the first task of the last of them to the last but a few tasks.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench import Arms, Bench, Direction
from benchmarks.broker_worker import MAX_IN_FLIGHT, TASK_SECONDS
from retrograde.cli.servers.kafka_server import KafkaServer
from retrograde.runtime.adapters import open_broker

_TASKS_A_WORKER = 200
_NUM_PARTITIONS = 32
_COUNTED = 0.85  # of the tasks; towards the end partitions run dry
_CHURN_SECONDS = 1.5
_DEADLINE_SECONDS = 120.0


@dataclass
class _Crew:
    """Workers of one topic, as processes; their lines are in files."""

    url: str
    topic: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def start(self) -> None:
        """One more."""
        self.files.append(self.folder / uuid.uuid4().hex)
        command = [sys.executable, "-m", "benchmarks.broker_worker", self.url, self.topic]
        with self.files[-1].open("wb") as lines:
            self.processes.append(subprocess.Popen(command, stdout=lines))

    def stop(self, index: int) -> None:
        """Drains one."""
        process = self.processes.pop(index)
        process.terminate()
        process.wait()

    def done(self) -> list[list[tuple[float, str]]]:
        """When each worker that ever was ended which task."""
        told = (path.read_text().splitlines() for path in self.files)
        return [[(float(line.split()[0]), line.split()[1]) for line in lines] for lines in told]


@contextlib.contextmanager
def _crew(url: str, num_workers: int, num_tasks: int) -> Iterator[_Crew]:
    """`num_workers` at the beginning of `num_tasks`."""
    topic = f"scaling.{uuid.uuid4().hex}"
    with contextlib.closing(open_broker(url)) as broker:
        broker.create_topic(topic, _NUM_PARTITIONS)
        for number in range(num_tasks):
            broker.publish(topic, f"k{number}", b"")
    with tempfile.TemporaryDirectory() as folder:
        crew = _Crew(url, topic, Path(folder))
        try:
            for _ in range(num_workers):
                crew.start()
            yield crew
        finally:
            while crew.processes:
                crew.stop(0)


def _finish(crew: _Crew, num_tasks: int, on_look: Callable[[], None] = lambda: None) -> list[list[tuple[float, str]]]:
    """Waits until every task was done."""
    give_up = time.monotonic() + _DEADLINE_SECONDS
    while True:
        done = crew.done()
        if len({key for lines in done for _, key in lines}) == num_tasks:
            return done
        if time.monotonic() > give_up:
            raise TimeoutError(f"{num_tasks} tasks were not done in {_DEADLINE_SECONDS:g} s")
        on_look()
        time.sleep(0.1)


def _rate(url: str, num_workers: int) -> float:
    """Tasks per second of `num_workers`."""
    num_tasks = _TASKS_A_WORKER * num_workers
    with _crew(url, num_workers, num_tasks) as crew:
        done = _finish(crew, num_tasks)
    begin = max(lines[0][0] for lines in done)
    times = sorted(at for lines in done for at, _ in lines)[: int(_COUNTED * num_tasks)]
    during = [at for at in times if at > begin]
    return len(during) / (during[-1] - begin)


def _churned(url: str) -> str:
    """Four workers, of which the oldest leaves and a new one joins again and again."""
    num_tasks, changes = 4 * _TASKS_A_WORKER, itertools.count()
    next_change = time.monotonic() + 2 * _CHURN_SECONDS
    with _crew(url, 4, num_tasks) as crew:

        def change() -> None:
            nonlocal next_change
            if time.monotonic() > next_change:
                crew.start()
                crew.stop(0)
                next(changes)
                next_change = time.monotonic() + _CHURN_SECONDS

        done = _finish(crew, num_tasks, change)
    num_again = sum(map(len, done)) - num_tasks
    return f"{next(changes)} of four joined and left meanwhile: all {num_tasks} tasks done, {num_again} of them again"


@contextlib.contextmanager
def _arms(open_url: Callable[[], AbstractContextManager[str]]) -> Iterator[Arms]:
    with open_url() as url:

        def note() -> str:
            one, four = _rate(url, 1), _rate(url, 4)
            bound = MAX_IN_FLIGHT / TASK_SECONDS
            alone = f"one alone {one:.1f} of at most {bound:g} messages/s"
            return f"1 -> 4 workers: {four / one:.2f}; {alone}; {_churned(url)}"

        yield Arms(lambda: _rate(url, 2), lambda: _rate(url, 1), note=note)


@contextlib.contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite://{folder}/broker.db"


@contextlib.contextmanager
def _kafka() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, KafkaServer(Path(folder)) as server:
        yield server.url


BENCHES = tuple(
    Bench(name, "messages/s", 1.8, Direction.UP, functools.partial(_arms, open_url))
    for name, open_url in (("worker-scaling", _sqlite), ("worker-scaling-kafka", _kafka))
)
