"""The API server's answers become our errors, and a client signs in as a pod or by a kubeconfig."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from retrograde.runtime.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RetrogradeError,
    UnavailableError,
)
from services.trainer.kubernetes.access import Access, from_kubeconfig, from_service_account
from services.trainer.kubernetes.api import ExpiredError, KubernetesApi


class Handler(BaseHTTPRequestHandler):
    """Answers with the status that the path's last part names; notes who asked for what."""

    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Nothing is printed."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization", ""), body))
        path = self.path.partition("?")[0]
        if path.endswith("/late"):
            self.server.may_answer.wait(30)
        status = int(path.rpartition("/")[2]) if path.rpartition("/")[2].isdigit() else 200
        data = self.server.answer.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may have left
            self.wfile.write(data)


class Server(ThreadingHTTPServer):
    """On loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = json.dumps({"message": "words of the server"})
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.may_answer = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidInputError),
        (401, UnavailableError),
        (403, UnavailableError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, ExpiredError),
        (422, InvalidInputError),
        (429, UnavailableError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
def test_a_refusal_is_an_error_of_ours(server: Server, status: int, error: type[RetrogradeError]) -> None:
    """Each status has its class; the message has the path, the status and the server's words."""
    with (
        KubernetesApi(Access(server.url, "lab")) as api,
        pytest.raises(error, match=rf"/jobs/{status} with {status}: words of the server"),
    ):
        api.create(f"/jobs/{status}", {})


def test_an_answer_that_is_no_json_is_told_as_it_is(server: Server) -> None:
    """A proxy's page, say: its first words are in the error."""
    server.answer = "<html>bad gateway"
    with KubernetesApi(Access(server.url, "lab")) as api, pytest.raises(UnavailableError, match="502: <html>bad"):
        api.get("/502")


def test_a_server_that_is_late_or_away_is_unavailable(server: Server) -> None:
    """Neither a request without an answer nor a closed port raises anything else."""
    late, away = Access(server.url, "lab"), Access("http://127.0.0.1:1", "lab")
    with KubernetesApi(late, timeout_seconds=0.2) as api, pytest.raises(UnavailableError, match="does not answer"):
        api.get("/late")
    with KubernetesApi(away) as api, pytest.raises(UnavailableError, match="http://127"):
        api.get("/")


def test_a_watch_tells_events_until_it_ends(server: Server) -> None:
    """A line of JSON for each; the version from which to watch is asked for."""
    events = [{"type": "ADDED", "object": {"n": 1}}, {"type": "DELETED", "object": {"n": 2}}]
    server.answer = "".join(json.dumps(event) + "\n" for event in events)
    with KubernetesApi(Access(server.url, "lab")) as api:
        assert list(api.watch("/runs", "17", 5)) == events
    assert server.asked[0][1] == "/runs?watch=true&resourceVersion=17&timeoutSeconds=5"


def test_a_watch_from_a_version_that_is_gone_is_expired(server: Server) -> None:
    """As the answer's status, and as an event of the stream."""
    with KubernetesApi(Access(server.url, "lab")) as api:
        with pytest.raises(ExpiredError):
            list(api.watch("/410", "1", 5))
        server.answer = json.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old"}}) + "\n"
        with pytest.raises(ExpiredError, match="too old"):
            list(api.watch("/runs", "1", 5))


def test_a_deletion_names_the_object_it_means(server: Server) -> None:
    """In the foreground, and only the one of that uid."""
    with KubernetesApi(Access(server.url, "lab")) as api:
        api.delete("/jobs/a", "uid-1")
    assert json.loads(server.asked[0][3]) == {"propagationPolicy": "Foreground", "preconditions": {"uid": "uid-1"}}


def test_a_replaced_token_is_used_at_once(server: Server, tmp_path: Path) -> None:
    """The kubelet writes a new one into the same file while the pod runs."""
    token = tmp_path / "token"
    with KubernetesApi(Access(server.url, "lab", token_file=token)) as api:
        for word in ("one", "two"):
            token.write_text(f"{word}\n")
            api.get("/")
    assert [who for _, _, who, _ in server.asked] == ["Bearer one", "Bearer two"]


def kubeconfig(folder: Path, user: dict[str, str]) -> Path:
    """A file whose second context is the current one."""
    contexts = [
        {"name": name, "context": {"cluster": name, "user": "me", "namespace": f"of-{name}"}} for name in ("a", "b")
    ]
    config = {
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}:1/"}} for name in ("a", "b")],
        "contexts": contexts,
        "users": [{"name": "me", "user": user}],
        "current-context": "b",
    }
    (folder / "config").write_text(yaml.safe_dump(config))
    return folder / "config"


def test_a_kubeconfig_is_read_for_its_current_context(tmp_path: Path) -> None:
    """Server, namespace and token are that context's; a token file is found beside the kubeconfig."""
    access = from_kubeconfig(kubeconfig(tmp_path, {"token": "t"}))
    assert (access.server, access.namespace, access.headers()) == ("http://b:1", "of-b", {"Authorization": "Bearer t"})
    (tmp_path / "secret").write_text("f")
    assert from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": "secret"})).headers() == {"Authorization": "Bearer f"}


def test_a_kubeconfig_that_is_incomplete_is_refused(tmp_path: Path) -> None:
    """The error names the file and what it lacks."""
    path = kubeconfig(tmp_path, {})
    path.write_text(path.read_text().replace("current-context: b", "current-context: c"))
    with pytest.raises(InvalidInputError, match=rf"launch\.kubeconfig: {path}: no contexts: c; name a kubeconfig"):
        from_kubeconfig(path)
    with pytest.raises(InvalidInputError, match="none"):
        from_kubeconfig(tmp_path / "none")


def test_outside_a_pod_a_kubeconfig_is_asked_for(tmp_path: Path) -> None:
    """Without a service account the error says what to set."""
    with pytest.raises(InvalidInputError, match=r"launch\.kubeconfig: empty, .* name a kubeconfig"):
        from_service_account(tmp_path, {})
