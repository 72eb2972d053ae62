"""A real Kafka broker in KRaft mode: one process that is broker and controller, on loopback.

It always listens in the clear; with `KafkaSecurity` also with TLS and SCRAM passwords, and with TLS and client
certificates, as a cluster's brokers do.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrograde.cli.servers.local_server import HOST, LocalServer
from retrograde.cli.servers.obtain import kafka_libs
from retrograde.runtime.adapters import open_broker
from retrograde.runtime.errors import UnavailableError

_OPTIONS = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
"""A small heap, and the compiler that is done soonest: with the thorough one a start takes twice as long."""
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",  # tests wait for sessions to end
    "broker.session.timeout.ms": "3000",  # a killed broker registers again after this
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.dedupe.buffer.size": "4194304",  # 128 MiB of a small heap otherwise
    "num.network.threads": "2",
    "num.io.threads": "4",
}


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """PEM files and SCRAM-SHA-256 passwords by user."""

    key_and_certificate: Path
    """The broker's private key (PKCS 8, not encrypted) and its certificate, in one file."""
    authority: Path
    """The certificate that signed those of the clients."""
    passwords: Mapping[str, str] = field(default_factory=dict)


class KafkaServer(LocalServer):
    """The broker whose data, configuration and log lie in `folder`. Raises NotFoundError when it was not obtained."""

    name = "kafka"

    def __init__(self, folder: Path, security: KafkaSecurity | None = None) -> None:
        self.num_ports = 4 if security else 2
        self.security = security
        self._libs = kafka_libs()
        super().__init__(folder)

    @property
    def address(self) -> str:
        """host:port in the clear."""
        return f"{HOST}:{self.ports[0]}"

    @property
    def url(self) -> str:
        """URL in the clear."""
        return f"kafka://{self.address}"

    @property
    def password_address(self) -> str:
        """host:port of TLS with SCRAM."""
        return f"{HOST}:{self.ports[2]}"

    @property
    def certificate_address(self) -> str:
        """host:port of TLS with client certificates."""
        return f"{HOST}:{self.ports[3]}"

    def prepare(self) -> None:
        """Writes the configuration; formats the data folder at its first start."""
        lines = [f"{name}={value}\n" for name, value in (_SETTINGS | self._own_settings()).items()]
        self._config.write_text("".join(lines), encoding="utf-8")
        if (self.folder / "data" / "meta.properties").exists():
            return
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)
        passwords = self.security.passwords if self.security else {}
        scram = [f"SCRAM-SHA-256=[name={user},password={word}]" for user, word in passwords.items()]
        arguments = [argument for each in scram for argument in ("--add-scram", each)]
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._config), *arguments]
        result = subprocess.run(self._java(tool), capture_output=True, text=True, check=False, cwd=self.folder)
        if result.returncode:
            raise UnavailableError(f"kafka: formatting {self.folder} failed: {result.stdout}{result.stderr}")

    def command(self) -> Sequence[str]:
        """The broker in a small heap."""
        return self._java(["kafka.Kafka", str(self._config)])

    def environment(self) -> Mapping[str, str]:
        """Ours."""
        return os.environ

    def answers(self) -> bool:
        """Whether it tells a client about its cluster."""
        try:
            open_broker(self.url).close()
        except UnavailableError:
            return False
        return True

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, arguments: Sequence[str]) -> list[str]:
        return ["java", *_OPTIONS, "-cp", f"{self._libs}/*", *arguments]

    def _own_settings(self) -> dict[str, str]:
        listeners = f"PLAINTEXT://{HOST}:{self.ports[0]},CONTROLLER://{HOST}:{self.ports[1]}"
        settings = {
            "log.dirs": str(self.folder / "data"),
            "controller.quorum.voters": f"1@{HOST}:{self.ports[1]}",
            "listeners": listeners,
        }
        if self.security is None:
            return settings
        secure = f",SASL_SSL://{HOST}:{self.ports[2]},SSL://{HOST}:{self.ports[3]}"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return settings | {
            "listeners": listeners + secure,
            "sasl.enabled.mechanisms": "SCRAM-SHA-256",
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.security.key_and_certificate),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.security.authority),
            "listener.name.ssl.ssl.client.auth": "required",
        }
