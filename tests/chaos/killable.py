"""A service that ends itself at a named point: its own `main`, unchanged, with its doors watched.

    python -m tests.chaos.killable services.search "SIGKILL after PUT trees" --config FILE

A trap is a signal, a point and, if it is not the first passing, which: "SIGKILL before PUT tree-logs 3". Several may be
given. A point is `before`, `half` or `after` and what passes:

    GET|HEAD|PUT|POST|DELETE KIND   a request to the S3 store about an object of that kind, where `half` of the body is
                                    sent and no more; LIST KIND; of a file in parts: PUT part, POST begin, POST complete
    publish TOPIC                   a message, `retrograde.` and `.v1` left out
    join, poll, revoke, commit, leave   of a member of a group; poll and revoke only if there was something
    serve, and others of a service: see METHODS   a call of that method

Here files travel in the smallest parts S3 takes. "CLOCK 3600" puts the process's clocks an hour ahead.
"""

from __future__ import annotations

import importlib
import inspect
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote

from retrograde.runtime import process
from retrograde.runtime.adapters import open_broker, s3_client, s3_connections, s3_settings
from retrograde.runtime.broker import Broker, Consumer, Message
from tests.chaos import clocks

PART_BYTES = 5 << 20
METHODS = {
    "services.verifier": (
        ("retrograde.sandbox.nursery", "Nursery._start", "nursery"),  # the process whose children grade
        ("retrograde.sandbox.nursery", "Nursery._fork", "fork"),
        ("services.verifier.servicer", "VerifierServicer.Verify", "verify"),
        ("retrograde.sandbox.worker", "Worker.run", "chunk"),
        ("retrograde.sandbox.worker", "Worker._watch", "grading"),  # a child has the chunk
        ("retrograde.sandbox.pool", "Pool.__aexit__", "close"),
    ),
    "tests.chaos.scripted_inference": (
        ("services.inference.weights", "Checkpoints.prepare", "prepare"),
        ("services.inference.swaps", "Swaps._load", "load"),
        ("services.inference.swaps", "Swaps._swap", "swap"),
        ("tests.unit.inference.fakes_inference", "FakeEngine.generate", "draw"),
        ("tests.unit.inference.fakes_inference", "FakeEngine.turn", "token"),
        ("retrograde.runtime.process", "Process.__aexit__", "close"),
    ),
    "services.rollouts": (
        ("services.rollouts.servicer", "RolloutsServicer.OpenFeed", "open"),
        ("services.rollouts.sampling", "Sampler.group", "sample"),
        ("services.rollouts.feed", "Feed._lease", "lease"),
        ("services.rollouts.servicer", "RolloutsServicer.AckRollouts", "ack"),
    ),
    "tests.chaos.grpo_job": (
        ("services.trainer.job.ahead", "PullAhead.published", "asking"),  # for groups of the new policy
        ("services.trainer.job.groups", "Ledger.pull", "pull"),
        ("services.trainer.job.groups", "Ledger.covered", "ack"),
    ),
}


@dataclass
class Trap:
    """A signal to this process at the n-th passing of a point."""

    number: signal.Signals
    point: str
    passings_left: int

    @classmethod
    def parse(cls, words: str) -> Trap:
        name, *point = words.split()
        nth = int(point.pop()) if point[-1].isdigit() else 1
        return cls(signal.Signals[name], " ".join(point), nth)


@dataclass
class Traps:
    """Those that are set."""

    traps: Sequence[Trap] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def passing(self, point: str) -> None:
        """Springs what waits there."""
        with self._lock:
            for trap in self.traps:
                trap.passings_left -= trap.point == point
                if trap.point == point and trap.passings_left == 0:
                    os.kill(os.getpid(), trap.number)


_traps = Traps()
_passing = threading.local()
_exchange, _slices, _parse_s3_url = s3_connections.exchange, s3_connections._slices, s3_settings.parse_s3_url


def kind_of(key: str) -> str:
    """The part of a run, or of its job, that an object belongs to; what makes a set whole is a kind of its own."""
    parts = key.split("/")
    if parts[-1] in {"MANIFEST.json", "COMPLETE.json"}:
        return parts[-1].removesuffix(".json").lower()
    if len(parts) > 4 and parts[2] == "jobs":
        return parts[4]
    return parts[2] if len(parts) > 2 else "runs"


def request_of(method: str, target: str) -> str:
    """`PUT trees`, for example."""
    path, _, text = target.partition("?")
    query = parse_qs(text, keep_blank_values=True)
    if "list-type" in query:
        return f"LIST {kind_of(query['prefix'][0])}"
    if "partNumber" in query:
        return "PUT part"
    if method == "POST":
        return "POST begin" if "uploads" in query else "POST complete"
    return f"{method} {kind_of(unquote(path).split('/', 2)[-1])}"


def watched_exchange(connection: Any, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Any:
    _passing.request = request = request_of(method, target)
    _traps.passing(f"before {request}")
    response = _exchange(connection, method, target, headers, body)
    _traps.passing(f"after {request}")
    return response


def watched_slices(body: bytes) -> Iterator[memoryview]:
    middle = len(body) // 2
    yield from _slices(body[:middle])
    _traps.passing(f"half {_passing.request}")
    yield from _slices(body[middle:])


class WatchedConsumer:
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._held: set[int] = set()

    def poll(self, timeout_seconds: float, max_messages: int = 1) -> list[Message]:
        messages = self._consumer.poll(timeout_seconds, max_messages)
        if messages:
            _traps.passing("after poll")
        return messages

    def commit(self, message: Message) -> None:
        _traps.passing("before commit")
        self._consumer.commit(message)
        _traps.passing("after commit")

    def seek(self, message: Message) -> None:
        self._consumer.seek(message)

    def assignment(self) -> Sequence[int]:
        held = self._consumer.assignment()
        if self._held - set(held):
            _traps.passing("after revoke")
        self._held = set(held)
        return held

    def close(self) -> None:
        _traps.passing("before leave")
        self._consumer.close()
        _traps.passing("after leave")


class WatchedBroker:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.create_topic, self.lag, self.close = broker.create_topic, broker.lag, broker.close

    def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        name = topic.removeprefix("retrograde.").replace(".v1", "")
        _traps.passing(f"before publish {name}")
        self._broker.publish(topic, key, value, headers)
        _traps.passing(f"after publish {name}")

    def consumer(self, topic: str, group: str) -> WatchedConsumer:
        _traps.passing("before join")
        consumer = WatchedConsumer(self._broker.consumer(topic, group))
        _traps.passing("after join")
        return consumer


def watch(module: str, method: str, point: str) -> None:
    """Has the method pass `before POINT` and `after POINT`."""
    owner, _, name = method.partition(".")
    cls = getattr(importlib.import_module(module), owner)
    call = getattr(cls, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        _traps.passing(f"before {point}")
        result = call(*args, **kwargs)
        _traps.passing(f"after {point}")
        return result

    async def watched_coroutine(*args: Any, **kwargs: Any) -> Any:
        _traps.passing(f"before {point}")
        result = await call(*args, **kwargs)
        _traps.passing(f"after {point}")
        return result

    setattr(cls, name, watched_coroutine if inspect.iscoroutinefunction(call) else watched)


def main(module: str, *arguments: str) -> None:
    """Watches the doors, then runs the service as `python -m` would."""
    split = arguments.index("--config")
    traps = [each for each in arguments[:split] if not each.startswith("CLOCK")]
    _traps.traps = [Trap.parse(each) for each in traps]
    process.open_broker = lambda url: WatchedBroker(open_broker(url))
    s3_client.exchange, s3_connections._slices = watched_exchange, watched_slices
    s3_settings.parse_s3_url = lambda url: replace(_parse_s3_url(url), part_bytes=PART_BYTES)
    watch("retrograde.runtime.process", "Process.serve", "serve")
    for method in METHODS.get(module, ()):
        watch(*method)
    for each in set(arguments[:split]) - set(traps):
        importlib.import_module(f"{module}.__main__")
        clocks.put_ahead(float(each.partition(" ")[2]))
    sys.argv = [module, *arguments[split:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
