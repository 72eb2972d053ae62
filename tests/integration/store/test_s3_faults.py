"""What breaks between a store and the real MinIO is repaired where that can be, and named where it cannot."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters.s3_settings import S3Settings, parse_s3_url
from retrograde.runtime.adapters.s3_store import S3Store
from retrograde.runtime.errors import UnavailableError
from tests.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from retrograde.cli.servers.minio_server import MinioServer

pytestmark = pytest.mark.minio
MANY = 23_000_000  # five parts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(MANY))
    return path


@pytest.mark.parametrize("fault", ["cut", "damage", "stall"])
def test_a_file_arrives_whole_over_a_bad_line(
    store: S3Store, proxy: Proxy, behind: Callable[..., S3Store], file: Path, fault: str
) -> None:
    """A connection cut, bytes damaged or a line gone silent in the middle of an upload: what is stored is the file."""
    through = behind()
    getattr(proxy.up, fault)(12_000_000)
    through.put_file("w", file)
    assert proxy.up.num_faults == 1
    assert store.get("w") == file.read_bytes()


@pytest.mark.parametrize("fault", ["cut", "damage", "stall"])
def test_a_file_is_fetched_whole_over_a_bad_line(
    store: S3Store, proxy: Proxy, behind: Callable[..., S3Store], file: Path, fault: str
) -> None:
    """A connection cut, bytes damaged or a line gone silent in the middle of a download: what arrives is the object."""
    store.put_file("w", file)
    through = behind()
    getattr(proxy.down, fault)(12_000_000)
    through.get_file("w", file.with_name("back"))
    assert proxy.down.num_faults == 1
    assert file.with_name("back").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("fault", ["cut", "damage", "stall"])
def test_a_single_object_survives_a_bad_line(
    proxy: Proxy, behind: Callable[..., S3Store], fault: str, way: str
) -> None:
    """Put and get of one object of 1 MB: its bytes are checked both ways and asked for again."""
    through, data = behind(), os.urandom(1_000_000)
    if way == "up":
        getattr(proxy.up, fault)(500_000)
    through.put("k", data)
    if way == "down":
        getattr(proxy.down, fault)(500_000)
    assert through.get("k") == data
    assert getattr(proxy, way).num_faults == 1


def test_an_upload_whose_last_answer_was_lost_is_done(
    store: S3Store, proxy: Proxy, behind: Callable[..., S3Store], file: Path
) -> None:
    """The server completes the upload and the answer never comes: asked again it knows no upload: success."""
    through = behind()
    proxy.lose_answer_to(b"<CompleteMultipartUpload>")
    through.put_file("w", file)
    assert proxy.num_lost_answers == 1
    assert store.get("w") == file.read_bytes()


def test_a_store_that_comes_back_is_used_again(proxy: Proxy, behind: Callable[..., S3Store]) -> None:
    """Refused for half a second, a put waits and succeeds."""
    through = behind()
    proxy.refuse()
    threading.Timer(0.5, proxy.heal).start()
    through.put("k", b"1")
    assert through.get("k") == b"1"


def test_a_store_that_stays_away_is_unavailable(proxy: Proxy, behind: Callable[..., S3Store]) -> None:
    """After `retry_seconds`, and not much later, a call ends with the endpoint, what happened and what to do."""
    through = behind(retry_seconds=1.0)
    proxy.refuse()
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=rf"127.0.0.1:{proxy.port} does not answer: .*refused; start the server"):
        through.get("k")
    assert time.monotonic() - began < 5


def test_a_failed_upload_leaves_nothing_behind(
    store: S3Store, proxy: Proxy, behind: Callable[..., S3Store], file: Path
) -> None:
    """A file that is made shorter while it travels is an error; its parts are forgotten."""
    through = behind()
    proxy.up.delay_seconds = 0.002
    threading.Timer(0.2, lambda: os.truncate(file, 1000)).start()
    with pytest.raises(Exception, match="made shorter while it was stored"):
        through.put_file("w", file)
    assert list(store.half_uploads("")) == []
    assert not store.exists("w")


def test_a_server_killed_in_the_middle_of_an_upload(own_minio: MinioServer, tmp_path: Path) -> None:
    """Kill -9 of the server while parts travel, started again: the same call finishes, and the object is the file."""
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(2 * MANY))
    settings: S3Settings = replace(parse_s3_url(own_minio.url()), part_bytes=5 << 20)
    with Proxy(own_minio.ports[0]) as proxy:
        store = S3Store(replace(settings, endpoint=f"http://127.0.0.1:{proxy.port}"))
        proxy.up.delay_seconds = 0.002
        upload = threading.Thread(target=store.put_file, args=("w", path))
        upload.start()
        while proxy.up.num_bytes < MANY // 2:
            time.sleep(0.01)
        own_minio.kill()
        assert upload.is_alive()
        own_minio.start()
        upload.join()
        assert store.get("w") == path.read_bytes()
