"""Requests that are signed for an account survive what may happen to its keys."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator

import pytest

from retrograde.runtime.adapters.s3_client import S3Client
from retrograde.runtime.adapters.s3_settings import S3Settings
from retrograde.runtime.adapters.s3_signer import Request, Signer
from retrograde.runtime.errors import UnavailableError


class Cloud(http.server.ThreadingHTTPServer):
    """An agent that gives key-1, key-2 and so on until `until`, after `num_busy` times none, and a store.

    The store's `refusal` is for requests with key-1.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.num_busy = 0
        self.num_given = 0
        self.until = "2999-01-01T00:00:00Z"
        self.refusal: tuple[int, str] | None = None
        self.requests: list[str] = []
        """The key of each that came to the store."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Cloud

    def do_GET(self) -> None:
        if self.path == "/keys":
            self._give()
        else:
            self._store()

    do_HEAD = do_GET  # noqa: N815 - the name the server looks for

    def _give(self) -> None:
        cloud = self.server
        if cloud.num_busy:
            cloud.num_busy -= 1
            return self._answer(503, b"")
        cloud.num_given += 1
        keys = {"AccessKeyId": f"key-{cloud.num_given}", "SecretAccessKey": "s", "Token": "t"}
        return self._answer(200, json.dumps({**keys, "Expiration": cloud.until}).encode())

    def _store(self) -> None:
        (key,) = re.findall("Credential=([^/]+)/", self.headers["Authorization"])
        self.server.requests.append(key)
        if self.server.refusal and key == "key-1":
            status, code = self.server.refusal
            self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())
        else:
            self._answer(200, b"the object")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with Cloud() as server:
        monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE", raising=False)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/keys")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client(cloud: Cloud) -> S3Client:
    return S3Client(S3Settings("trees", cloud.url, None))


def test_keys_that_cannot_be_had_are_asked_for_again(cloud: Cloud, client: S3Client) -> None:
    """Those who give them may be away for a moment, as the store may."""
    cloud.num_busy = 2
    assert client.ask(Request("GET", "a")).data == b"the object"
    assert (cloud.num_busy, cloud.requests) == (0, ["key-1"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"])
def test_a_session_that_is_over_is_replaced(cloud: Cloud, client: S3Client, method: str, code: str) -> None:
    """The store ends it before its time, with a 400 that says so, or to HEAD says nothing: new keys are let in."""
    cloud.refusal = 400, code
    client.ask(Request(method, "a"))
    assert cloud.requests == ["key-1", "key-2"]


def test_a_role_that_may_not_asks_for_no_other_keys(cloud: Cloud, client: S3Client) -> None:
    """They would be those of the same role."""
    cloud.refusal = 403, "AccessDenied"
    with pytest.raises(UnavailableError, match="the role needs to read"):
        client.ask(Request("GET", "a"))
    assert cloud.requests == ["key-1"]


def test_keys_end_by_the_clock_of_the_store(cloud: Cloud) -> None:
    """A machine that is years ahead does not ask for new keys for each request, once it has the store's clock."""
    cloud.until = "2000-01-01T12:00:00Z"
    signer = Signer(S3Settings("trees", cloud.url, None))
    signer.set_clock("Sat, 01 Jan 2000 00:00:00 GMT")
    assert [signer.sign(Request("GET", "a")).keys.access_key for _ in range(3)] == ["key-1"] * 3
