"""The work plane as real processes: verifier, search, rewriter, trainer, a scripted engine, and who restarts them.

crew.begin()     starts them and asks the trainer for the run, as often as it must
crew.look()      whoever died by a trap of its plan is started again, with the next trap; any other end is a failure
crew.finish()    looks until the run has succeeded and nothing is left on the topics
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import yaml

from retrograde.cli.topology import free_ports
from retrograde.runtime.adapters import open_broker, open_store
from retrograde.runtime.broker import Broker
from retrograde.runtime.errors import RetrogradeError
from retrograde.runtime.lifeline import die_with_parent
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2
from retrograde.v1 import trainer_service_pb2 as trainer_pb2
from retrograde.v1.trainer_service_pb2_grpc import TrainerServiceStub
from retrograde.wire.topics import PROBLEMS_TOPIC, REWRITER_GROUP, SEARCH_GROUP, TREES_TOPIC

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "models" / "countdown-base"
RUN_ID = "chaos"
PATIENCE_SECONDS = 600.0
WEIGHTS_BYTES = 12 << 20  # of a file beside the base model: it travels in three parts
POISON = b"\xff no message of ours"
GROUPS = {"search": (PROBLEMS_TOPIC, SEARCH_GROUP), "rewriter": (TREES_TOPIC, REWRITER_GROUP)}
_PATH = f"{ROOT / 'libs'}:{ROOT}"
_LOOK_EVERY_SECONDS = 0.1


@dataclass
class Service:
    """One of the processes, and the traps that wait for its next lives."""

    name: str
    config: Path
    plan: list[str] = field(default_factory=list)
    module: str = ""  # another than the service's own
    trap: str = ""
    died_at: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    max_resident_bytes: int = 0

    def start(self, log: Path) -> None:
        """Its next life; without a trap it is the service as anybody starts it."""
        self.trap = self.plan.pop(0) if self.plan else ""
        module, traps = self.module or f"services.{self.name}", [each for each in self.trap.split("; ") if each]
        watched = ["tests.chaos.killable", module, *traps] if traps else [module]
        command = [sys.executable, "-m", *watched, "--config", str(self.config)]
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": _PATH},
                stdout=said,
                stderr=said,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock
            )

    def measure(self) -> None:
        """Keeps the most memory it was seen with."""
        with contextlib.suppress(OSError, AttributeError):
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])  # type: ignore[union-attr]
            self.max_resident_bytes = max(self.max_resident_bytes, pages * os.sysconf("SC_PAGE_SIZE"))

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Crew:
    """See the module. The services go to broker and store by these URLs; `eyes` is the crew's own, if another."""

    def __init__(
        self, folder: Path, broker_url: str, store_url: str, engine: str, num_problems: int, eyes: str = ""
    ) -> None:
        self.folder = folder
        self.num_problems = num_problems
        self.broker: Broker = open_broker(broker_url)
        self.store: ObjectStore = open_store(eyes or store_url)
        ports = dict(zip(("verifier", "search", "rewriter", "trainer"), free_ports(4), strict=True))
        shared = {
            "broker": broker_url,
            "store": store_url,
            "inference": engine,
            "verifier": f"127.0.0.1:{ports['verifier']}",
        }
        own: dict[str, dict[str, Any]] = {
            "verifier": {"num_workers": 1},
            "search": shared | {"max_trees": 2, "takeover_seconds": 1.0, "store_threads": 8, "hand_back_seconds": 0.5},
            "rewriter": shared | {"max_trees": 2, "hand_back_seconds": 0.5},
            "trainer": shared | {"rollouts": "127.0.0.1:1", "work_dir": str(folder / "jobs")},
        }
        self.services = {name: Service(name, self._config(name, ports[name], own[name])) for name in ports}
        self._trainer = f"127.0.0.1:{ports['trainer']}"
        self._recipe = recipe(folder, num_problems)
        self._is_created = False

    def begin(self, plans: dict[str, Sequence[str]] | None = None) -> None:
        """Starts the services, each with its plan."""
        for name, service in self.services.items():
            service.plan = list((plans or {}).get(name, ()))
            self._start(service)

    def look(self) -> None:
        """See the module."""
        for service in self.services.values():
            service.measure()
            assert service.process is not None
            status = service.process.poll()
            if status is None:
                continue
            assert (status, bool(service.trap)) == (-signal.SIGKILL, True), (
                f"{service.name} ended: {self.said(service)}"
            )
            service.died_at.append(service.trap)
            self._start(service)
        if not self._is_created:
            self._create()

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Looks until it is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}; {self.num_stored('trees')} trees, run: {self.state()}"
            self.look()
            time.sleep(_LOOK_EVERY_SECONDS)

    def finish(self) -> None:
        """See the module."""
        self.until(lambda: self.state() == run_pb2.RUN_STATE_SUCCEEDED, "the run to succeed")
        for topic, group in GROUPS.values():
            self.until(lambda topic=topic, group=group: self._lag(topic, group) == 0, f"no lag on {topic}")  # type: ignore[misc]

    def rest(self) -> None:
        """Ends the services; what they made stays."""
        for service in self.services.values():
            service.end()

    def close(self) -> None:
        self.rest()
        self.broker.close()

    def num_stored(self, folder: str) -> int:
        """Objects of that folder of the run."""
        return sum(1 for _ in self.store.list(f"runs/{RUN_ID}/{folder}/"))

    def state(self) -> int:
        """Of the run, as the store knows it; 0 before it is there. Raises when it failed."""
        with contextlib.suppress(RetrogradeError):
            run = run_pb2.Run.FromString(self.store.get(f"runs/{RUN_ID}/run.pb"))
            assert run.state != run_pb2.RUN_STATE_FAILED, run.error
            return int(run.state)
        return 0

    def said(self, service: Service) -> str:
        """The end of its log."""
        return self._log(service).read_text(errors="replace")[-3000:]

    def data_sets(self) -> dict[str, bytes]:
        """The training sets of the run."""
        return {name: self.store.get(f"runs/{RUN_ID}/datasets/{name}.jsonl") for name in ("direct", "astro")}

    def _lag(self, topic: str, group: str) -> int:
        """-1 while the broker does not answer."""
        with contextlib.suppress(RetrogradeError):
            return self.broker.lag(topic, group)
        return -1

    def _start(self, service: Service) -> None:
        topic, _ = GROUPS.get(service.name, ("", ""))
        service.start(self._log(service))
        if ".dlq" in service.trap and "before" in service.trap:
            self.broker.publish(topic, "poison", POISON)
        if "revoke" in service.trap:
            threading.Thread(target=self._visit, args=(service, service.process), daemon=True).start()

    def _visit(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        """Joins the service's group and leaves it, without taking a message, for as long as the process lives."""
        topic, group = GROUPS[service.name]
        while process.poll() is None:
            with contextlib.suppress(RetrogradeError), contextlib.closing(self.broker.consumer(topic, group)) as member:
                end = time.monotonic() + 3.0
                while process.poll() is None and time.monotonic() < end:
                    member.poll(0.1, 0)
            time.sleep(1.0)

    def _create(self) -> None:
        with grpc.insecure_channel(self._trainer) as channel, contextlib.suppress(grpc.RpcError):
            request = trainer_pb2.CreateRunRequest(run_id=RUN_ID, recipe_yaml=self._recipe)
            TrainerServiceStub(channel).CreateRun(request, timeout=5.0)
            self._is_created = True

    def _log(self, service: Service) -> Path:
        return self.folder / f"{service.name}.log"

    def _config(self, name: str, port: int, settings: dict[str, Any]) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"listen": f"127.0.0.1:{port}"} | settings))
        return path


@functools.cache
def checkpoint(folder: Path) -> Path:
    """The base model, with a file beside it that is large enough to travel in parts."""
    path = folder / "base"
    path.mkdir()
    for file in BASE.iterdir():
        (path / file.name).symlink_to(file)
    (path / "optimizer.bin").write_bytes(bytes(range(256)) * (WEIGHTS_BYTES // 256))
    return path


def recipe(folder: Path, num_problems: int) -> str:
    """Problems to training sets; what is trained is left out. The checkpoint's folder has no part in what is made."""
    told = {
        "name": "chaos",
        "seed": 5,
        "task": "countdown",
        "policy": {"checkpoint": str(checkpoint(folder.parent)), "max_model_tokens": 512},
        "problems": {
            "search": {"options": {"num_numbers": 3, "count": num_problems}},
            "evaluate": {"options": {"num_numbers": 3, "count": 4}},
        },
        "search": {"num_iterations": 6, "num_actions": 3, "num_rollouts": 2, "max_in_flight": 4},
        "linearize": {"num_wrong": [0, 2], "self_evaluation_samples": 0},
        "rewrite": {"method": "template"},
        "evaluate": {"num_samples": 2, "majority": 2, "max_tokens": 100},
        "arms": ["base"],
    }
    return yaml.safe_dump(told)


@contextlib.contextmanager
def scripted_engine(folder: Path, call_seconds: float) -> Iterator[str]:
    """The address of an engine whose answers take so long."""
    command = [sys.executable, "-m", "tests.chaos.scripted_engine", "1", str(call_seconds), str(folder / "asked")]
    environment = os.environ | {"PYTHONPATH": _PATH}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def rows_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]
