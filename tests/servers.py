"""Real servers for tests: one Kafka and one MinIO for the whole session, others that a test may stop and kill.

Where one cannot be had the test is skipped with a line that says what is missing; with CI=true it fails.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from retrograde.cli.servers.kafka_server import KafkaSecurity, KafkaServer
from retrograde.cli.servers.minio_server import MinioSecurity, MinioServer
from retrograde.cli.servers.obtain import kafka_libs, minio_binary
from retrograde.runtime.errors import NotFoundError
from tests.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USER, PASSWORD = "alice", "alice-secret"


def need(find: Callable[[], Path]) -> None:
    """Skips the test that asks when a server was not obtained, or fails it in CI."""
    try:
        find()
    except NotFoundError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """The Kafka all tests share: use topics and groups of your own, and leave it running."""
    need(kafka_libs)
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """The MinIO all tests share: use buckets or prefixes of your own, and leave it running."""
    need(minio_binary)
    with MinioServer(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[KafkaServer]:
    """A Kafka that also listens with TLS: SCRAM for USER, and client certificates."""
    need(kafka_libs)
    security = KafkaSecurity(certificates.file("server-with-key.pem"), certificates.authority, {USER: PASSWORD})
    with KafkaServer(tmp_path_factory.mktemp("secure-kafka"), security) as server:
        yield server


@pytest.fixture(scope="session")
def secure_minio(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[MinioServer]:
    """A MinIO that speaks TLS."""
    need(minio_binary)
    pair = (certificates.file("server.key"), certificates.file("server.pem"))
    with MinioServer(tmp_path_factory.mktemp("secure-minio"), MinioSecurity(*pair, certificates.authority)) as server:
        yield server


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A Kafka that only this test uses: it may be stopped, killed, frozen and restarted."""
    need(kafka_libs)
    with KafkaServer(tmp_path / "kafka") as server:
        yield server


@pytest.fixture
def own_minio(tmp_path: Path) -> Iterator[MinioServer]:
    """A MinIO that only this test uses: it may be stopped, killed, frozen and restarted."""
    need(minio_binary)
    with MinioServer(tmp_path / "minio") as server:
        yield server
