"""What the S3 store promises beyond the port: memory, pages, half uploads, changed keys, errors with a remedy."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from retrograde.cli import garbage
from retrograde.runtime.adapters import open_store
from retrograde.runtime.adapters.s3_settings import S3Settings, parse_s3_url
from retrograde.runtime.adapters.s3_signer import Request
from retrograde.runtime.adapters.s3_store import S3Store
from retrograde.runtime.adapters.s3_transfers import Transfers
from retrograde.runtime.errors import InvalidInputError, UnavailableError
from services.inference.weights import Cache, Checkpoints
from services.inference.weights import folder_of as weights_folder
from services.search.tree_log import TreeLog
from tests.proxy import Proxy
from tests.unit.inference.fakes_inference import write_checkpoint

if TYPE_CHECKING:
    from retrograde.cli.servers.minio_server import MinioServer
    from tests.certificates import Certificates

pytestmark = pytest.mark.minio
PROGRAM = Path(__file__).with_name("children.py")
T = TypeVar("T")
Item = TypeVar("Item")


def child(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(PROGRAM), *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def folder_of(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_memory_does_not_grow_with_the_file(minio_server: MinioServer, tmp_path: Path) -> None:
    """Half a GiB up and down raises a process's peak by less than a third of that: parts of 16 MiB, four at a time."""
    folder = folder_of(tmp_path / "set")
    with (folder / "weights").open("wb") as file:
        for _ in range(32):
            file.write(os.urandom(1 << 20) * 16)
    process = child("memory", minio_server.url(), "memory/set", folder, tmp_path / "back")
    grown, _ = process.communicate()
    assert int(grown) < 150 << 20
    assert subprocess.run(["cmp", folder / "weights", tmp_path / "back" / "weights"], check=False).returncode == 0


def test_long_lists_come_in_pages(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,005 keys arrive sorted in two answers; the second is asked for only when the first is used up."""
    Transfers(4).each(lambda number: store.put(f"k{number:04d}", b""), range(1005))
    answers, ask = [], store._client.ask
    monkeypatch.setattr(store._client, "ask", lambda request: answers.append(1) or ask(request))
    keys = store.list("k")
    assert list(itertools.islice(keys, 1000)) == [f"k{number:04d}" for number in range(1000)]
    assert len(answers) == 1
    assert list(keys) == [f"k{number:04d}" for number in range(1000, 1005)]
    assert len(answers) == 2


def test_what_was_put_is_listed(store: S3Store) -> None:
    """Each of 100 objects is in the list that is asked for next, and gone from the one after it is deleted.

    A tree's log relies on it: whoever opens an epoch must be seen by whoever looks.
    """
    for number in range(100):
        key = f"log/{number % 7}-{number}"
        store.put(key, b"")
        assert key in store.list("log/")
        store.delete(key)
        assert key not in store.list("log/")


async def test_a_tree_log_is_fenced(store: S3Store) -> None:
    """The log of a tree works as on a directory: who opens it later is seen at once by who opened it before."""
    first, second = TreeLog(store, "runs/r/tree-logs/p/"), TreeLog(store, "runs/r/tree-logs/p/")
    await first.open()
    await first.check()
    await second.open()
    await second.check()
    with pytest.raises(Exception, match="epoch 1 is over, another worker began 2"):
        await first.check()


def test_a_killed_upload_is_found_and_forgotten(settings: S3Settings, store: S3Store, tmp_path: Path) -> None:
    """Kill -9 in the middle of a multipart upload leaves no object; `gc` finds the half upload and ends it."""
    folder = folder_of(tmp_path / "set", weights=os.urandom(50_000_000))
    with Proxy(int(settings.endpoint.rpartition(":")[2])) as proxy:
        proxy.up.stall(45_000_000)
        assert settings.key_files
        keys = "access_key_file={}&secret_key_file={}".format(*settings.key_files)
        url = f"s3://{settings.bucket}?endpoint=http://127.0.0.1:{proxy.port}&{keys}"
        process = child("store", url, "runs/r/checkpoints/a", folder)
        while not proxy.up.num_faults:
            assert process.poll() is None
        process.kill()
        process.communicate()
    assert [half.key for half in store.half_uploads("runs/r/")] == ["runs/r/checkpoints/a/weights"]
    assert list(store.half_uploads("runs/other/")) == []
    assert list(store.list("")) == []
    found = garbage.find(store, "r", keeps_report=False)
    assert len(list(garbage.clear(store, found))) == 1
    assert list(store.half_uploads("")) == []


def test_transfers_are_bounded(
    settings: S3Settings, proxy: Proxy, behind: Callable[..., S3Store], tmp_path: Path
) -> None:
    """Five files of three parts each: four bodies at a time, beside at most one question for each of four files."""
    names = [f"part{number}" for number in range(5)]
    folder = folder_of(tmp_path / "set", **dict.fromkeys(names, os.urandom(11_000_000)))
    through = behind()
    through.upload("set", folder)
    through.download("set", tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == names
    assert 1 < proxy.max_open <= 2 * settings.num_transfers


def test_a_download_is_of_one_object(store: S3Store, tmp_path: Path) -> None:
    """An object that another replaces after its first part was fetched is fetched again, whole."""
    old, new = folder_of(tmp_path / "set", old=b"o" * 17_000_000, new=b"n" * 17_000_000), tmp_path / "back"
    store.put_file("w", old / "old")

    class Replacing(Transfers):
        def each(self, work: Callable[[Item], T], items: Iterable[Item]) -> list[T]:
            first, *rest = items
            work(first)
            store._transfers = Transfers(4)
            store.put_file("w", old / "new")
            return super().each(work, rest)

    store._transfers = Replacing(4)
    store.get_file("w", new)
    assert new.read_bytes() == b"n" * 17_000_000


def test_get_of_an_object_in_parts(store: S3Store, tmp_path: Path) -> None:
    """`get` brings an object that was stored in parts, each part checked."""
    data = os.urandom(12_000_000)
    store.put_file("w", folder_of(tmp_path / "set", w=data) / "w")
    assert store.get("w") == data


def test_prefixes_keep_stores_apart(settings: S3Settings) -> None:
    """Two stores in one bucket under different prefixes do not see each other's keys."""
    one, other = S3Store(replace(settings, prefix="one/")), S3Store(replace(settings, prefix="one/two/"))
    other.put("k", b"2")
    one.put("k", b"1")
    assert (one.get("k"), other.get("k")) == (b"1", b"2")
    assert (list(one.list("")), list(other.list(""))) == (["k", "two/k"], ["k"])


def test_changed_keys_are_read_again(own_minio: MinioServer) -> None:
    """The server's secret and the file with it change while a store is open: its next call is answered."""
    store = S3Store(parse_s3_url(own_minio.url()))
    store.put("k", b"1")
    own_minio.stop()
    own_minio.secret_key_file.write_text("another-secret", encoding="utf-8")
    own_minio.start()
    assert store.get("k") == b"1"


def test_a_wrong_clock_is_set_by_the_servers(store: S3Store) -> None:
    """A clock years behind is refused by the server; the store goes by the server's and is answered."""
    store._client._signer.set_clock("Sat, 01 Jan 2000 00:00:00 GMT")
    store.put("k", b"1")
    assert store.get("k") == b"1"


@pytest.mark.parametrize(
    ("position", "text", "said"),
    [
        (1, "wrong-secret", "secret_key_file {file}: not the secret of the key in"),
        (0, "nobody", "access_key_file {file}: the server knows no such key"),
    ],
)
def test_wrong_keys_are_named(settings: S3Settings, tmp_path: Path, position: int, text: str, said: str) -> None:
    """A wrong secret and an unknown user are InvalidInputErrors that name the file to correct, and no secret."""
    file = tmp_path / "key"
    file.write_text(text)
    assert settings.key_files
    files = list(settings.key_files)
    files[position] = file
    with pytest.raises(InvalidInputError) as refused:
        S3Store(replace(settings, key_files=tuple(files)))
    assert said.format(file=file) in str(refused.value)
    assert text not in str(refused.value).replace(str(file), "")


def test_a_bucket_that_is_gone_is_no_missing_object(store: S3Store, settings: S3Settings) -> None:
    """When somebody deletes the bucket, `get` names the bucket and does not pretend that only the object is missing."""
    store._client.ask(Request("DELETE"))
    with pytest.raises(UnavailableError, match=f"no bucket '{settings.bucket}'; create it"):
        store.get("k")


def test_tls_needs_the_authority(secure_minio: MinioServer, certificates: Certificates) -> None:
    """With its authority's certificate the server is trusted; with a stranger's it is not, and ca_file is named."""
    url = secure_minio.url()
    store = open_store(url)
    store.put("k", b"1")
    assert store.get("k") == b"1"
    wrong = url.replace(str(certificates.authority), str(certificates.stranger))
    with pytest.raises(
        InvalidInputError, match=f"ca_file {certificates.stranger}: the certificate of .* is not trusted"
    ):
        open_store(wrong)
    with pytest.raises(InvalidInputError, match="HTTP request to an HTTPS server"):
        open_store(url.replace("https://", "http://"))


def test_plain_http_is_no_tls(minio_server: MinioServer) -> None:
    """TLS asked of a server that has none ends with what happened at that endpoint."""
    settings = parse_s3_url(minio_server.url().replace("http://", "https://"))
    with pytest.raises(UnavailableError, match="does not answer: SSLError"):
        S3Store(replace(settings, retry_seconds=0.1))


def test_weights_are_fetched_once_and_their_cache_is_bounded(store: S3Store, tmp_path: Path) -> None:
    """The inference service's cache on S3: a policy is downloaded once, served from disk after, evicted by bytes."""
    model = write_checkpoint(tmp_path / "model")
    cache = Checkpoints(store, "m", model, Cache(tmp_path / "cache", keep=10, keep_bytes=1000))
    kept = []
    for step in range(3):
        store.upload(f"p/{step}", write_checkpoint(tmp_path / f"p{step}", fill=step))
        kept.append(cache.prepare(f"p/{step}"))
    store.delete("p/2/model.safetensors")
    assert cache.prepare("p/2") == kept[2]
    served = weights_folder(kept[2]) / "model.safetensors"
    assert served.read_bytes() == (tmp_path / "p2" / "model.safetensors").read_bytes()
    cache.settle(kept[2])
    assert [weights_folder(each).is_dir() for each in kept] == [False, True, True]
