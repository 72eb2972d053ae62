"""Which services the local profile runs, in which order, and the YAML each is given.

    inference  verifier          first: nobody else can work without them
    search  rewriter  rollouts   call the two
    trainer                      calls all, and so comes last and goes first

Ports are chosen once and kept in `DIR/services/<name>.yaml`: a restarted service is found where it was.
"""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from retrograde.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from retrograde.cli.backends import Backends

WAVES: tuple[tuple[str, ...], ...] = (("inference", "verifier"), ("search", "rewriter", "rollouts"), ("trainer",))
"""Services by start order; a wave starts once the one before is serving."""

_PORTS = range(20_000, 32_768)  # Linux takes those for connections from beyond: a restarted service finds its own free

_PEERS: Mapping[str, tuple[str, ...]] = {
    "inference": (),
    "verifier": (),
    "search": ("inference", "verifier"),
    "rewriter": ("inference", "verifier"),
    "rollouts": ("inference", "verifier"),
    "trainer": ("inference", "verifier", "rollouts"),
}
_NEEDS_BROKER = frozenset({"search", "rewriter", "rollouts", "trainer"})
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Topology:
    """What runs below `folder`; `services` is a part of all, in start order."""

    folder: Path
    backends: Backends
    checkpoint: str
    max_model_tokens: int
    task: str = ""
    drain_seconds: float = 10.0
    tracking: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = tuple(name for wave in WAVES for name in wave)

    def config_file(self, name: str) -> Path:
        """Where the service's YAML lies."""
        return self.folder / "services" / f"{name}.yaml"

    def settings(self, name: str, addresses: Mapping[str, str]) -> dict[str, Any]:
        """The service's settings as its YAML says them."""
        common: dict[str, Any] = {
            "listen": addresses[name],
            "store": self.backends.store,
            "drain_seconds": self.drain_seconds,
        }
        if name in _NEEDS_BROKER:
            common["broker"] = self.backends.broker
        peers = {peer: addresses[peer] for peer in _PEERS[name]}
        return common | peers | self._own(name)

    def _own(self, name: str) -> dict[str, Any]:
        if name == "inference":
            return {
                "checkpoint": self.checkpoint,
                "max_model_tokens": self.max_model_tokens,
                "cache": str(self.folder / "cache"),
            }
        if name == "verifier" and "." in self.task:  # a task outside retrograde.tasks
            return {"tasks": [self.task]}
        if name == "trainer":
            return {"work_dir": str(self.folder / "work"), "tracking": dict(self.tracking)}
        return {}

    def write(self, port_base: int = 0) -> dict[str, str]:
        """Writes every YAML and returns the addresses, host:port by service.

        Ports: `port_base` and those after it if given, else the ones of an earlier start while they are free, else
        free ones. Raises InvalidInputError when a port asked for is taken.
        """
        addresses = self._addresses(port_base)
        self.config_file("any").parent.mkdir(parents=True, exist_ok=True)
        for name in self.services:
            text = yaml.safe_dump(self.settings(name, addresses), sort_keys=False)
            self.config_file(name).write_text(text, encoding="utf-8")
        return addresses

    def _addresses(self, port_base: int) -> dict[str, str]:
        if port_base:
            asked = {name: port_base + i for i, name in enumerate(self.services)}
            for name, port in asked.items():
                _refuse_taken(name, port)
            return {name: f"{_HOST}:{port}" for name, port in asked.items()}
        kept = [self._kept_port(name) for name in self.services]
        if not all(kept) or not all(is_free(port) for port in kept):
            kept = free_ports(len(self.services))
        return {name: f"{_HOST}:{port}" for name, port in zip(self.services, kept, strict=True)}

    def _kept_port(self, name: str) -> int:
        try:
            settings = yaml.safe_load(self.config_file(name).read_text(encoding="utf-8"))
            return int(str(settings["listen"]).rpartition(":")[2])
        except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError):
            return 0


def health_service(name: str) -> str:
    """The name under which a service reports its health."""
    return f"retrograde.v1.{name.capitalize()}Service"


def free_ports(count: int) -> list[int]:
    """That many different loopback ports nobody listens on, and no connection is given before somebody does."""
    free = filter(is_free, random.sample(_PORTS, len(_PORTS)))
    return list(itertools.islice(free, count))


def waves_of(services: Sequence[str]) -> list[list[str]]:
    """The part of WAVES that `services` asks for."""
    return [wave for each in WAVES if (wave := [name for name in each if name in services])]


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _refuse_taken(name: str, port: int) -> None:
    if not is_free(port):
        raise InvalidInputError(
            f"--port-base: port {port} for {name} is taken on {_HOST}; end what listens there or choose another base"
        )
