"""The rollouts service killed with -9 at named points, while the training job's own client pulls and acknowledges."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from retrograde.cli.servers.minio_server import MinioServer
from retrograde.cli.topology import free_ports
from retrograde.core.settings import RlSettings
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import UnavailableError
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import load_task
from services.rollouts.ledger import Ledger
from services.rollouts.tickets import Ticket, Tickets
from services.trainer.job.feed import GrpcFeed
from services.trainer.job.settings import GrpoJobSettings
from services.trainer.stages.stage import problems_to_bytes
from tests.chaos.crew import Service, scripted_engine
from tests.chaos.kill_points import ROLLOUTS

NUM_PROMPTS = 24
NUM_GROUPS = 4
FEED, PROMPTS = "runs/r/feeds/astro_rl", "runs/r/problems/rl.jsonl"

pytestmark = [pytest.mark.chaos, pytest.mark.minio, pytest.mark.timeout(300)]


class Watchman(threading.Thread):
    """Starts the service again each time it dies, with its next trap, until it is told to stop."""

    def __init__(self, service: Service, log: Path) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.log = log
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            self.service.start(self.log)
            assert self.service.process is not None
            while self.service.process.poll() is None and not self.is_over.is_set():
                time.sleep(0.05)
            if self.service.process.poll() == -signal.SIGKILL:
                self.service.died_at.append(self.service.trap)
        self.service.end()


def patiently(call: Callable[[], object]) -> None:
    """As the trainer does with a job that gave up: again."""
    while True:
        try:
            call()
        except UnavailableError:
            time.sleep(0.1)
        else:
            return


@pytest.fixture
def feed(tmp_path: Path, minio_server: MinioServer) -> Iterator[tuple[GrpcFeed, Watchman, ObjectStore]]:
    url = minio_server.url("rollouts")
    store = open_store(url)
    problems = load_task("countdown").problems({"num_numbers": 3, "count": NUM_PROMPTS}, "rl", seed=4)
    store.put(PROMPTS, problems_to_bytes(problems))
    (port,) = free_ports(1)
    with scripted_engine(tmp_path, 0.0) as engine:
        settings = {"listen": f"127.0.0.1:{port}", "store": url, "inference": engine, "verifier": engine}
        config = tmp_path / "rollouts.yaml"
        config.write_text(yaml.safe_dump(settings))
        watchman = Watchman(Service("rollouts", config, list(ROLLOUTS)), tmp_path / "rollouts.log")
        watchman.start()
        job = GrpoJobSettings(
            store=url,
            init_checkpoint="",
            output_key="",
            job_key="",
            work_dir=tmp_path,
            rollouts=f"127.0.0.1:{port}",
            feed=FEED,
            prompts_key=PROMPTS,
            policies_key="",
            rl=RlSettings(group_size=3, max_tokens=60),
        )
        try:
            with GrpcFeed(job) as feed:
                yield feed, watchman, store
        finally:
            watchman.is_over.set()
            watchman.join(30)


def test_every_prompt_is_used_once(feed: tuple[GrpcFeed, Watchman, ObjectStore]) -> None:
    """Two epochs of groups reach the trainer, each prompt once in each, although the service died at every point.

    It opens the feed once: what was leased and never delivered comes back to it all the same.
    """
    rollouts, watchman, store = feed
    used: list[str] = []
    patiently(rollouts.open)
    for _ in range(2 * NUM_PROMPTS // NUM_GROUPS):
        groups = rollouts.pull(NUM_GROUPS, 0)
        patiently(lambda groups=groups: rollouts.ack([group.lease_id for group in groups]))  # type: ignore[misc]
        used += [group.id for group in groups]
    ledger = Ledger(store, FEED, Tickets(NUM_PROMPTS))
    ledger.replay()
    assert watchman.service.died_at == list(ROLLOUTS)
    assert len(used) == 2 * NUM_PROMPTS
    assert sorted(used) == [Ticket(epoch, place).id for epoch in range(2) for place in range(NUM_PROMPTS)]
    assert {ticket.id for ticket in ledger.tickets.used} == set(used)
