"""The S3 store on a real MinIO: what does it cost over bare HTTP, and does its memory stay the same?

    store-small        4 KiB put and got, objects per second
    store-put-8MiB     bytes put, MiB per second        store-get-8MiB     bytes got
    store-put-64MiB                                     store-get-64MiB
    store-memory       peak memory of a process that stores and fetches a checkpoint of 1 GiB, against 128 MiB

Bare HTTP is one http.client connection that stays open, to URLs signed beforehand: it signs nothing, checks nothing,
tries nothing again. Ours signs each request, and computes and compares a CRC-32C of each body. Both arms use the same
bytes under the same kind of key; the server, the bench and both arms share the machine.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from minio import Minio

from benchmarks.bench import Arms, Bench, Direction
from retrograde.cli.servers.minio_server import MinioServer
from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore

_BUCKET = "bench"
_MIB = 1 << 20
_CHECKPOINT_MIB = 1024
_SMALL_CHECKPOINT_MIB = 128


class _Bare:
    """PUT and GET of one key, signed beforehand."""

    def __init__(self, server: MinioServer, key: str) -> None:
        keys = [file.read_text() for file in (server.access_key_file, server.secret_key_file)]
        address = urlsplit(server.endpoint).netloc
        client = Minio(address, access_key=keys[0], secret_key=keys[1], secure=False, region="us-east-1")
        self._targets = {
            method: client.get_presigned_url(method, _BUCKET, key).removeprefix(server.endpoint)
            for method in ("PUT", "GET")
        }
        self._connection = http.client.HTTPConnection(address)

    def put(self, data: bytes) -> None:
        """One request."""
        self._ask("PUT", data)

    def get(self) -> bytes:
        """One request."""
        return self._ask("GET", None)

    def _ask(self, method: str, body: bytes | None) -> bytes:
        self._connection.request(method, self._targets[method], body)
        response = self._connection.getresponse()
        data = response.read()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{method}: {response.status} {data[:200]!r}")
        return data

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()


def _rate(work: Callable[[], object], count: int, amount: float) -> float:
    began = time.perf_counter()
    for _ in range(count):
        work()
    return count * amount / (time.perf_counter() - began)


@contextlib.contextmanager
def _server() -> Iterator[tuple[MinioServer, ObjectStore]]:
    with tempfile.TemporaryDirectory() as folder, MinioServer(Path(folder)) as server:
        yield server, open_store(server.url(_BUCKET))


@contextlib.contextmanager
def _open_small() -> Iterator[Arms]:
    data, count = os.urandom(4096), 200
    with _server() as (server, store), contextlib.closing(_Bare(server, "bare")) as bare:
        ours = functools.partial(_rate, lambda: (store.put("ours", data), store.get("ours")), count, 2)
        against = functools.partial(_rate, lambda: (bare.put(data), bare.get()), count, 2)
        yield Arms(ours, against, note=lambda: f"{count} objects of 4 KiB put and got, one after the other")


@contextlib.contextmanager
def _open_large(mebibytes: int, method: str) -> Iterator[Arms]:
    data, count = os.urandom(mebibytes * _MIB), max(4, 128 // mebibytes)
    with _server() as (server, store), contextlib.closing(_Bare(server, "bare")) as bare:
        store.put("ours", data)
        bare.put(data)
        works: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "put": (lambda: store.put("ours", data), lambda: bare.put(data)),
            "get": (lambda: store.get("ours"), bare.get),
        }
        ours, against = (functools.partial(_rate, work, count, mebibytes) for work in works[method])
        yield Arms(ours, against, note=lambda: f"{count} x {mebibytes} MiB, one after the other")


class _Checkpoints:
    """Stores and fetches a checkpoint in a process of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self._told: dict[str, float] = {}
        for mebibytes in (_CHECKPOINT_MIB, _SMALL_CHECKPOINT_MIB):
            self._write(mebibytes)

    def peak(self, mebibytes: int) -> float:
        """Peak memory in MiB."""
        arguments = [self._url, str(self._folder / f"{mebibytes}"), str(self._folder / "back")]
        command = [sys.executable, "-m", "benchmarks.store_process", *arguments]
        told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        self._told |= told if mebibytes == _CHECKPOINT_MIB else {}
        return told["peak_bytes"] / _MIB

    def note(self) -> str:
        """How fast it went."""
        rates = {way: _CHECKPOINT_MIB / self._told[f"{way}_seconds"] for way in ("up", "down")}
        return (
            f"1 GiB in two files, last time {rates['up']:.0f} MiB/s up and {rates['down']:.0f} down, SHA-256 included"
        )

    def _write(self, mebibytes: int) -> None:
        (self._folder / f"{mebibytes}").mkdir()
        for name in ("one", "two"):
            with (self._folder / f"{mebibytes}" / name).open("wb") as file:
                for _ in range(mebibytes // 2):
                    file.write(os.urandom(_MIB))


@contextlib.contextmanager
def _open_memory() -> Iterator[Arms]:
    with _server() as (server, _), tempfile.TemporaryDirectory() as folder:
        checkpoints = _Checkpoints(server.url(_BUCKET), Path(folder))
        large, small = (functools.partial(checkpoints.peak, size) for size in (_CHECKPOINT_MIB, _SMALL_CHECKPOINT_MIB))
        yield Arms(large, small, note=checkpoints.note)


BENCHES: Sequence[Bench] = (
    Bench("store-small", "objects/s", 0.70, Direction.UP, _open_small, num_repetitions=9),
    *(
        Bench(f"store-{method}-{size}MiB", "MiB/s", 0.90, Direction.UP, functools.partial(_open_large, size, method), 9)
        for size in (8, 64)
        for method in ("put", "get")
    ),
    Bench("store-memory", "MiB", 1.1, Direction.DOWN, _open_memory),
)
