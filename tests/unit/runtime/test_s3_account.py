"""A store may be opened with the keys of the process's own account, as clouds give them to pods."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from retrograde.runtime import logs
from retrograde.runtime.adapters import open_store
from retrograde.runtime.adapters.s3_keys import Account
from retrograde.runtime.adapters.s3_refusals import RefusedError, TransientError
from retrograde.runtime.adapters.s3_settings import parse_s3_url
from retrograde.runtime.adapters.s3_signer import Request, Signer
from retrograde.runtime.errors import InvalidInputError, UnavailableError

NOW = datetime.now(UTC)
URL = "s3://trees?endpoint=https://s3.example.com:443&region=eu-west-1&identity=account"
LONG_AGO, LATER = "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t</SessionToken><Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


@dataclass
class Sts:
    """In place of a connection pool: gives keys that end when `until` says, a new key each time; or a `status`."""

    until: str = LATER
    status: int = 200
    answer: str = ANSWER
    before: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)

    def urlopen(self, _method: str, url: str, **_options: object) -> SimpleNamespace:
        self.asked.append(url)
        self.before()
        body = self.answer.format(key=f"key-{len(self.asked)}", until=self.until)
        return SimpleNamespace(status=self.status, data=body.encode())


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a cluster on AWS mounts for an account with a role."""
    file = tmp_path / "token"
    file.write_text("a-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/trees")
    return file


def account(sts: Sts) -> Account:
    return Account("eu-west-1", sts)  # type: ignore[arg-type]  # as much of a pool as is used


@contextmanager
def agent(key: str) -> Iterator[str]:
    """The URL of a server that gives keys, as one on the node does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Authorization"] == "a-token"
            keys = {"AccessKeyId": key, "SecretAccessKey": "s", "Token": "session", "Expiration": LATER}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(keys).encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/credentials"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.usefixtures("token")
def test_a_token_is_exchanged_for_keys() -> None:
    """At the region's STS, for the role; the keys are kept while they hold."""
    sts = Sts()
    keys = account(sts)
    assert [keys.current(NOW).access_key for _ in range(3)] == ["key-1"] * 3
    (asked,) = map(urlsplit, sts.asked)
    given = {name: values[0] for name, values in parse_qs(asked.query).items()}
    assert asked.netloc == "sts.eu-west-1.amazonaws.com"
    assert (given["WebIdentityToken"], given["RoleArn"]) == ("a-token", "arn:aws:iam::1:role/trees")


def test_keys_that_end_are_fetched_again(token: Path) -> None:
    """By the clock they are asked for at, with the token that the file has by then."""
    sts, end = Sts(until=LONG_AGO), datetime.fromisoformat(LONG_AGO)
    keys = account(sts)
    found = [keys.current(end - timedelta(hours=hours)).access_key for hours in (2, 1)]
    token.write_text("another-token")
    assert [*found, keys.current(end).access_key] == ["key-1", "key-1", "key-2"]
    assert "WebIdentityToken=another-token" in sts.asked[1]


@pytest.mark.usefixtures("token")
def test_keys_whose_session_is_over_are_replaced() -> None:
    """Once, whoever is refused with them; a role that may not gets no others."""
    sts = Sts()
    keys = account(sts)
    refused = keys.current(NOW)
    over, denied = (RefusedError(400, code, "", {}) for code in ("ExpiredToken", "AccessDenied"))
    assert not keys.renew(refused, denied)
    assert [keys.renew(refused, over) for _ in range(3)] == [True] * 3
    assert keys.current(NOW).access_key == "key-2"
    assert len(sts.asked) == 2


@pytest.mark.usefixtures("token")
def test_keys_that_are_given_again_are_no_others() -> None:
    """An agent may keep keys that the store no longer takes."""
    keys = account(Sts(answer=ANSWER.replace("{key}", "key")))
    assert not keys.renew(keys.current(NOW), RefusedError(400, "ExpiredToken", "", {}))


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("sts", [Sts(status=403), Sts(until="never"), Sts(answer="<html>a-token")])
def test_no_keys_is_no_fault_of_the_work(sts: Sts) -> None:
    """It is tried again, and then UnavailableError, which workers wait for; there is no cause, it has the token."""
    with pytest.raises(TransientError, match="identity=account: no keys were given") as raised:
        account(sts).current(NOW)
    assert isinstance(raised.value.final, UnavailableError)
    assert "a-token" not in str(raised.value)
    assert raised.value.__context__ is None


class Crowd:
    """In place of a lock: counts who comes to it, and lets `urlopen` wait until there are `num_threads`."""

    def __init__(self, num_threads: int) -> None:
        self._lock, self._came = threading.Lock(), threading.Semaphore(0)
        self._num_threads = num_threads

    def __enter__(self) -> None:
        self._came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self) -> None:
        for _ in range(self._num_threads):
            assert self._came.acquire(timeout=30)


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(("status", "outcome"), [(200, "key-1"), (500, "ValueError")])
def test_one_thread_asks_for_all(status: int, outcome: str) -> None:
    """Threads that find no keys at the same time ask once, and have the same keys or the same trouble."""
    crowd = Crowd(4)
    sts = Sts(status=status, before=crowd.wait)
    keys = account(sts)
    keys._lock = crowd  # type: ignore[assignment]  # as much of a lock as is used

    def current(_: int) -> str:
        try:
            return str(keys.current(NOW).access_key)
        except TransientError as error:
            return str(error)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(current, range(4)))
    assert len(sts.asked) == 1
    assert [outcome in each for each in found] == [True] * 4


@pytest.mark.usefixtures("token")
def test_a_token_is_in_no_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """STS that nobody can reach is asked once for those who need keys, and no line of any level has the token."""
    connect = urllib3.util.connection.create_connection
    logs.configure("search", "debug")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = closed.getsockname()
        monkeypatch.setattr(urllib3.util.connection, "create_connection", lambda *_, **__: connect(nowhere))
        with pytest.raises(TransientError):
            Account("eu-west-1").current(NOW)
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    (beginning,) = [event for event in events if "connection" in event]
    assert beginning == "Starting new HTTPS connection (1): sts.eu-west-1.amazonaws.com:443"
    assert "a-token" not in "".join(events)


def test_requests_are_signed_for_the_account(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key that an agent on the node gave, and the session that it belongs to."""
    monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
    with agent("key-of-the-node") as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        headers = Signer(parse_s3_url(URL)).sign(Request("GET", "a")).headers
    assert headers["x-amz-security-token"] == "session"
    assert "Credential=key-of-the-node/" in headers["Authorization"]
    assert "x-amz-security-token" in headers["Authorization"]


def test_a_process_without_a_role_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked, with both ways out."""
    for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidInputError, match="give its ServiceAccount one, or name key files"):
        open_store(URL)
