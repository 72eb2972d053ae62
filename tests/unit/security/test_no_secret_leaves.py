"""Services are started with planted secrets and made to fail in every way we know; then all that they said is read."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.certificates import Authority
from tests.unit.security.rpcs import rpcs
from tests.unit.security.started import SECONDS, Started, described, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrograde.runtime.tls import TlsSettings

TOKEN, WRONG_TOKEN = "planted-token-5d1c", "planted-wrong-token-90ab"
S3_SECRET, KAFKA_PASSWORD = "planted-s3-secret-77f0", "planted-kafka-password-2be4"
NOWHERE = "127.0.0.1:9"


class Refusing(BaseHTTPRequestHandler):
    """An object store that has the bucket, and refuses everything in it by repeating what it was sent."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        is_bucket = self.path.partition("?")[0].count("/") < 2
        repeated = " ".join(f"{name}={value}" for name, value in self.headers.items())
        body = b"" if is_bucket else f"<Error><Code>AccessDenied</Code><Message>{repeated}</Message></Error>".encode()
        self.send_response(200 if is_bucket else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = answer  # noqa: N815 - the base class's names

    def log_message(self, *_: object) -> None:
        """Nothing."""


@dataclass
class World:
    """The secrets, each in its file, and the identities of the services."""

    folder: Path
    store: str
    tls: TlsSettings
    client: TlsSettings
    secrets: list[str] = field(default_factory=list)

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    @property
    def settings(self) -> dict[str, object]:
        """Of any service that is reached by certificate and, from outside, by token."""
        return {
            "inference": NOWHERE,
            "verifier": NOWHERE,
            "store": self.store,
            "tls": described(self.tls),
            "tokens": str(self.folder / "tokens.yaml"),
            "public_port": -1,
            "metrics_port": -1,
            "max_message_bytes": 1 << 10,
            "drain_seconds": 1,
            "log_level": "debug",
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("secrets")
    authority = Authority(folder / "authority")
    client = authority.issue(folder / "client", "DNS:cli.retrograde", "DNS:job.retrograde")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever).start()
        keys = f"access_key_file={folder}/access_key&secret_key_file={folder}/secret_key"
        store = f"s3://bucket?endpoint=http://127.0.0.1:{server.server_port}&{keys}"
        world = World(folder, store, authority.issue(folder / "tls", "DNS:any.retrograde"), client)
        world.file("access_key", "someone")
        world.file("secret_key", S3_SECRET)
        world.file("tokens.yaml", f"alice: {hashlib.sha256(TOKEN.encode()).hexdigest()}")
        key = world.tls.key.read_text().splitlines()[1:-1]
        world.secrets = [TOKEN, WRONG_TOKEN, S3_SECRET, KAFKA_PASSWORD, *key]
        yield world
        server.shutdown()


def leaks(world: World, said: dict[str, str]) -> list[tuple[str, str]]:
    """Each (place, secret) where one is found."""
    assert all(said.values())
    return [(place, secret) for place, text in said.items() for secret in world.secrets if secret in text]


def kernel_knows(process: Started) -> dict[str, str]:
    """Arguments and environments of the process and its children, theirs included."""
    pids, seen = [process.process.pid], dict[str, str]()
    for pid in pids:
        folder = Path("/proc", str(pid))
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a child that has ended
            children = [task.read_text().split() for task in folder.glob("task/*/children")]
            pids += [int(child) for each in children for child in each]
            seen[f"argv {pid}"] = folder.joinpath("cmdline").read_text() or "ended"
            seen[f"environment {pid}"] = folder.joinpath("environ").read_text() or "ended"
    return seen


def refusals(world: World, ready: dict[str, str]) -> list[tuple[grpc.StatusCode, str]]:
    """Every RPC asked by certificate and by token, right and wrong, with nothing, rubbish and far too much."""
    authority, key, certificate = (
        file.read_bytes() for file in (world.client.authority, world.client.key, world.client.certificate)
    )
    mutual, one_sided = (
        grpc.ssl_channel_credentials(authority, key, certificate),
        grpc.ssl_channel_credentials(authority),
    )
    with (
        grpc.secure_channel(ready["address"], mutual) as inside,
        grpc.secure_channel(ready["public_address"], one_sided) as outside,
    ):
        return [
            rpc.refusal(channel, request, timeout=2.0, metadata=(("authorization", f"Bearer {token}"),))
            for rpc in rpcs()
            for channel, token in ((inside, TOKEN), (outside, TOKEN), (outside, WRONG_TOKEN))
            for request in (b"", b"\xff", b"\x0a\x01x", b"\x0a\x01x\x12\x01y", b"\n" * 2000)
        ]


@pytest.mark.parametrize("module", ["services.rollouts", "services.rewriter"])
def test_a_service_keeps_its_secrets(world: World, module: str) -> None:
    """Whatever it is asked: none is in arguments, environment, metrics, answers, and in the log at its finest."""
    more = {"broker": f"sqlite:///{world.folder}/broker.db"} if module == "services.rewriter" else {}
    with started(world.folder, module, **world.settings, **more) as service:
        ready = service.until("ready")
        answers = refusals(world, ready)
        with urllib.request.urlopen(f"http://{ready['metrics_address']}/metrics") as reply:
            said = kernel_knows(service) | {"metrics": reply.read().decode()}
        service.stop()
    said |= {"log": service.log.read_text(), "answers": repr(answers)}
    codes = {code for code, _ in answers}
    expected = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT}
    assert (leaks(world, said), expected - codes) == ([], set())
    assert "AccessDenied" in said["log"] + said["answers"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tokens": "raw_tokens.yaml"}, "write the token's SHA-256"),
        ({"tls": "key"}, "are no PEM certificate and key"),
        ({"store": "two_lines"}, "secret_key_file"),
    ],
)
def test_a_start_that_fails_keeps_them_too(world: World, settings: dict[str, str], says: str) -> None:
    """A secret in the wrong place, or one of which nobody is told, is not in the line that says what is wrong."""
    raw, key = world.file("raw_tokens.yaml", f"alice: {TOKEN}"), world.file("no.key", KAFKA_PASSWORD)
    two = world.file("two_lines", f"{S3_SECRET}\n{KAFKA_PASSWORD}\n")
    wrong: dict[str, object] = {
        "raw_tokens.yaml": str(raw),
        "key": described(world.tls) | {"key": str(key)},
        "two_lines": world.store.replace(f"{world.folder}/secret_key", str(two)),
    }
    given = {name: wrong[value] for name, value in settings.items()}
    sqlite = {"broker": f"sqlite:///{world.folder}/broker.db"}
    with started(world.folder, "services.rewriter", **{**world.settings, **sqlite, **given}) as service:
        said = {} if service.process.poll() is not None else kernel_knows(service)
        assert service.process.wait(SECONDS) != 0
    said |= {"log": service.log.read_text()}
    assert leaks(world, said) == []
    assert says in said["log"]


def test_a_start_that_waits_keeps_them_too(world: World) -> None:
    """A broker that is away is waited for, and its password is neither in the reason nor in what the kernel knows."""
    password = world.file("password", KAFKA_PASSWORD)
    broker = f"kafka://{NOWHERE}?username_file={world.folder}/access_key&password_file={password}"
    with started(world.folder, "services.rewriter", **world.settings, broker=broker) as service:
        reason = service.until("start waits")["reason"]
        said = kernel_knows(service) | {"reason": reason}
        service.stop()
    said |= {"log": service.log.read_text()}
    assert leaks(world, said) == []
    assert f"broker: 'kafka://{NOWHERE}" in reason
