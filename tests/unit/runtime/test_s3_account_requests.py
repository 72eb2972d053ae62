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
from retrograde.runtime.adapters.s3_signer import Request


class Cloud(http.server.ThreadingHTTPServer):
    """An agent that gives key-1, key-2 and so on, after `num_busy` times none, and a store."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.num_busy = 0
        self.num_given = 0
        self.requests: list[str] = []
        """The key of each that came to the store."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Cloud

    def do_GET(self) -> None:
        if self.path == "/keys":
            self._give()
        else:
            self._store()

    def _give(self) -> None:
        cloud = self.server
        if cloud.num_busy:
            cloud.num_busy -= 1
            return self._answer(503, b"")
        cloud.num_given += 1
        keys = {"AccessKeyId": f"key-{cloud.num_given}", "SecretAccessKey": "s", "Token": "t"}
        return self._answer(200, json.dumps({**keys, "Expiration": "2999-01-01T00:00:00Z"}).encode())

    def _store(self) -> None:
        (key,) = re.findall("Credential=([^/]+)/", self.headers["Authorization"])
        self.server.requests.append(key)
        self._answer(200, b"the object")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
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
