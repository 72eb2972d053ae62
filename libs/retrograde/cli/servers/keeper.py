"""Kafka and MinIO in the background: one process starts both, waits, and ends them when it is told to.

`FOLDER/services.json` says where they are once they answer, and which process keeps them; it is gone once they are.
"""

from __future__ import annotations

import time
from pathlib import Path

from retrograde.cli.keeper import Keeper
from retrograde.cli.servers.kafka_server import KafkaServer
from retrograde.cli.servers.local_server import START_SECONDS, LocalServer
from retrograde.cli.servers.minio_server import MinioServer
from retrograde.runtime.errors import InvalidInputError, UnavailableError

_STOP_SECONDS = 60.0


def keeper(folder: Path) -> Keeper:
    """The one of `folder`."""
    kept = "Kafka and MinIO"
    return Keeper(folder, "retrograde.cli.servers", kept, "services.json", 2 * START_SECONDS, _STOP_SECONDS)


def keep(folder: Path) -> None:
    """Runs both until SIGTERM or SIGINT, or until one ends by itself (UnavailableError)."""
    if not folder.is_absolute():
        raise InvalidInputError(f"--folder {folder}: write an absolute path")
    kafka, minio = KafkaServer(folder / "kafka"), MinioServer(folder / "minio")
    with keeper(folder).keeping() as tell:
        try:
            for server in (kafka, minio):
                server.launch()
            for server in (kafka, minio):
                server.wait_ready()
            tell(
                {
                    "broker": kafka.url,
                    "store": minio.url(),
                    "kafka": kafka.state() | {"address": kafka.address},
                    "minio": minio.state() | {"address": minio.endpoint},
                }
            )
            _watch([kafka, minio])
        finally:
            for server in (minio, kafka):
                server.stop()


def _watch(servers: list[LocalServer]) -> None:
    while all(server.pid for server in servers):
        time.sleep(1.0)
    ended = next(server for server in servers if not server.pid)
    raise UnavailableError(f"{ended.name} ended by itself; {ended.log} ends with:\n{ended.last_words()}")
