"""Ports and YAML of the local profile."""

from __future__ import annotations

import socket
from pathlib import Path

import yaml

from retrograde.cli.backends import Backends
from retrograde.cli.topology import WAVES, Topology, free_ports, health_service, waves_of
from services.inference.settings import InferenceSettings
from services.rewriter.settings import RewriterSettings
from services.rollouts.settings import RolloutsSettings
from services.search.settings import SearchServiceSettings
from services.trainer.settings import TrainerSettings
from services.verifier.settings import VerifierSettings

ALL = [name for wave in WAVES for name in wave]


def test_every_service_gets_its_own_port_and_its_peers(tmp_path: Path) -> None:
    """Addresses differ, and each YAML names the addresses of the services it calls."""
    addresses = Topology(tmp_path, Backends.within(tmp_path), "/model", 256).write()
    assert len(set(addresses.values())) == len(ALL)
    trainer = yaml.safe_load((tmp_path / "services" / "trainer.yaml").read_text("utf-8"))
    assert trainer["listen"] == addresses["trainer"]
    assert {peer: trainer[peer] for peer in ("inference", "verifier", "rollouts")} == {
        peer: addresses[peer] for peer in ("inference", "verifier", "rollouts")
    }
    assert trainer["broker"] == f"sqlite://{tmp_path}/broker.db"
    assert trainer["store"] == f"file://{tmp_path}/store"


def test_the_trainer_is_told_who_tracks(tmp_path: Path) -> None:
    """What `--wandb` and `--mlflow` say reaches the settings of the service."""
    tracking = {"wandb_project": "astro", "mlflow_uri": ""}
    Topology(tmp_path, Backends.within(tmp_path), "/model", 256, tracking=tracking).write()
    told = yaml.safe_load((tmp_path / "services" / "trainer.yaml").read_text("utf-8"))
    assert TrainerSettings.model_validate(told).tracking.wandb_project == "astro"


def test_ports_are_kept_over_restarts(tmp_path: Path) -> None:
    """A second start finds every service where it was."""
    topology = Topology(tmp_path, Backends.within(tmp_path), "/model", 256)
    assert topology.write() == topology.write()


def test_ports_taken_meanwhile_are_replaced(tmp_path: Path) -> None:
    """A kept port that somebody else listens on now is not used again."""
    topology = Topology(tmp_path, Backends.within(tmp_path), "/model", 256, services=("verifier",))
    kept = topology.write()["verifier"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(kept.rpartition(":")[2])))
        taken.listen()
        assert topology.write()["verifier"] != kept


def test_ports_are_none_that_a_connection_is_given() -> None:
    """Different ones, below those that the kernel gives to connections; and none that somebody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_ports(1)[0]))
        taken.listen()
        ports = free_ports(12_000)
        given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="utf-8").split()[0])
        assert len(set(ports)) == len(ports)
        assert taken.getsockname()[1] not in ports
    assert max(free_ports(1000)) < given


def test_port_base_gives_consecutive_ports(tmp_path: Path) -> None:
    """Six ports from the base on, in start order."""
    base = free_ports(1)[0] // 10 * 10
    topology = Topology(tmp_path, Backends.within(tmp_path), "/model", 256)
    addresses = topology.write(port_base=base)
    assert [int(addresses[name].rpartition(":")[2]) for name in ALL] == list(range(base, base + 6))


def test_waves_of_a_part() -> None:
    """A part of the services starts in the order of the whole."""
    assert waves_of(("inference", "verifier", "search")) == [["inference", "verifier"], ["search"]]


def test_settings_are_those_the_services_read(tmp_path: Path) -> None:
    """Every generated key is one the service's own settings know, and every required one is there."""
    checkpoint = tmp_path / "base"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}", "utf-8")
    (checkpoint / "model.safetensors").write_bytes(b"")
    topology = Topology(tmp_path, Backends.within(tmp_path), str(checkpoint), 256)
    addresses = topology.write()
    classes = (
        InferenceSettings,
        VerifierSettings,
        SearchServiceSettings,
        RewriterSettings,
        RolloutsSettings,
        TrainerSettings,
    )
    for name, settings in zip(ALL, classes, strict=True):
        read = settings.model_validate(yaml.safe_load(topology.config_file(name).read_text("utf-8")))
        assert read.listen == addresses[name]


def test_health_names() -> None:
    """The name under which a service reports its health is its gRPC service."""
    assert health_service("rollouts") == "retrograde.v1.RolloutsService"
