"""The API server's answers become our errors, and a client signs in as a pod or by a kubeconfig."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from kubernetes.config.incluster_config import InClusterConfigLoader

from retrograde.runtime.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RetrogradeError,
    UnavailableError,
)
from services.trainer.kubernetes import access
from services.trainer.kubernetes.access import Access, from_kubeconfig, from_service_account
from services.trainer.kubernetes.api import ExpiredError, ForbiddenError, KubernetesApi
from tests.certificates import Authority


class Handler(BaseHTTPRequestHandler):
    """Answers with the status that the path's last part names; notes who asked for what."""

    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Nothing is printed."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.content_type = self.headers["Content-Type"]
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
    """On loopback; over TLS with the certificate and key of `identity`."""

    def __init__(self, identity: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if identity:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity / "tls.crt", identity / "tls.key")
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answer = json.dumps({"message": "words of the server"})
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.content_type = ""
        self.may_answer = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def kubeconfig(folder: Path, user: dict[str, str], server: str = "http://b:1/") -> Path:
    """A file whose second context, with that server, is the current one."""
    contexts = [
        {"name": name, "context": {"cluster": name, "user": "me", "namespace": f"of-{name}"}} for name in ("a", "b")
    ]
    config = {
        "clusters": [{"name": "a", "cluster": {"server": "http://a:1"}}, {"name": "b", "cluster": {"server": server}}],
        "contexts": contexts,
        "users": [{"name": "me", "user": user}],
        "current-context": "b",
    }
    (folder / "config").write_text(yaml.safe_dump(config))
    return folder / "config"


@pytest.fixture
def to(tmp_path: Path) -> Callable[[str], Access]:
    """Makes the access to a server by its URL."""
    return lambda url: from_kubeconfig(kubeconfig(tmp_path, {"token": "t"}, url))


@pytest.fixture
def api(server: Server, to: Callable[[str], Access]) -> Iterator[KubernetesApi]:
    with KubernetesApi(to(server.url)) as api:
        yield api


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidInputError),
        (401, UnavailableError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, ExpiredError),
        (422, InvalidInputError),
        (429, UnavailableError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
def test_a_refusal_is_an_error_of_ours(api: KubernetesApi, status: int, error: type[RetrogradeError]) -> None:
    """Each status has its class; the message has the path, the status and the server's words."""
    with pytest.raises(error, match=rf"/jobs/{status} with {status}: words of the server"):
        api.create(f"/jobs/{status}", {})


def test_an_answer_that_is_no_json_is_told_as_it_is(server: Server, api: KubernetesApi) -> None:
    """A proxy's page, say: its first words are in the error."""
    server.answer = "<html>bad gateway"
    with pytest.raises(UnavailableError, match="502: <html>bad"):
        api.get("/502")


def test_a_server_that_is_late_or_away_is_unavailable(server: Server, to: Callable[[str], Access]) -> None:
    """A request without an answer and a closed port raise nothing else; neither is asked again."""
    with KubernetesApi(to(server.url), timeout_seconds=0.2) as api:
        with pytest.raises(UnavailableError, match="does not answer"):
            api.get("/late")
        with pytest.raises(UnavailableError, match="does not answer"):
            list(api.watch("/late", "1", 0))
    assert [path.partition("?")[0] for _, path, _, _ in server.asked] == ["/late", "/late"]
    with KubernetesApi(to("http://127.0.0.1:1")) as api, pytest.raises(UnavailableError, match="http://127"):
        api.get("/")


def test_a_watch_tells_events_until_it_ends(server: Server, api: KubernetesApi) -> None:
    """A line of JSON for each; the version from which to watch is asked for."""
    server.answer = "".join(
        json.dumps({"type": kind, "object": {"n": number}}) + "\n" for kind, number in (("ADDED", 1), ("DELETED", 2))
    )
    told = [(event["type"], event["object"]) for event in api.watch("/runs", "17", 5)]
    assert told == [("ADDED", {"n": 1}), ("DELETED", {"n": 2})]
    asked = urlsplit(server.asked[0][1])
    assert asked.path == "/runs"
    assert parse_qs(asked.query) == {"watch": ["True"], "resourceVersion": ["17"], "timeoutSeconds": ["5"]}


def test_a_watch_from_a_version_that_is_gone_is_expired(server: Server, api: KubernetesApi) -> None:
    """As the answer's status, and as an event of the stream."""
    with pytest.raises(ExpiredError):
        list(api.watch("/410", "1", 5))
    status = {"code": 410, "reason": "Expired", "message": "too old"}
    server.answer = json.dumps({"type": "ERROR", "object": status}) + "\n"
    with pytest.raises(ExpiredError, match="too old"):
        list(api.watch("/runs", "1", 5))


def test_a_deletion_names_the_object_it_means(server: Server, api: KubernetesApi) -> None:
    """In the foreground, and only the one of that uid."""
    api.delete("/jobs/a", "uid-1")
    assert json.loads(server.asked[0][3]) == {"propagationPolicy": "Foreground", "preconditions": {"uid": "uid-1"}}


def test_no_change_is_made_after_its_caller_went_on(server: Server, to: Callable[[str], Access]) -> None:
    """The server has to give each change up before its client does; what is only read has no such deadline."""
    with KubernetesApi(to(server.url), timeout_seconds=10.0) as api:
        api.create("/jobs", {})
        api.replace("/leases/a", {})
        api.patch("/runs/a", {})
        api.delete("/jobs/a", "uid-1")
        api.get("/jobs")
    asked = [(method, urlsplit(path).query) for method, path, _, _ in server.asked]
    changes = [(method, "timeout=9.000s") for method in ("POST", "PUT", "PATCH", "DELETE")]
    assert asked == [*changes, ("GET", "")]


def test_a_patch_can_take_a_field_away(server: Server, api: KubernetesApi) -> None:
    """A null is sent as it is, to be merged."""
    api.patch("/runs/a/status", {"status": {"stage": None}})
    assert (server.content_type, server.asked[0][3]) == ("application/merge-patch+json", b'{"status": {"stage": null}}')


def test_a_log_is_text_whatever_it_looks_like(server: Server, api: KubernetesApi) -> None:
    """Lines of JSON stay lines; only as many as are wanted are asked for."""
    server.answer = '{"loss": 1}\n{"loss": 2}\n'
    assert api.text("/log", container="train", tailLines="2") == server.answer
    assert server.asked[0][1] == "/log?container=train&tailLines=2"


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "proxy.corp:3128"], ids=["away", "without a scheme"])
def test_proxies_of_the_environment_are_not_for_the_api_server(
    monkeypatch: pytest.MonkeyPatch, server: Server, to: Callable[[str], Access], proxy: str
) -> None:
    """Calls and watches reach it although every variable names a proxy that is of no use."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, proxy)
        monkeypatch.setenv(variable.lower(), proxy)
    with KubernetesApi(to(server.url)) as api:
        api.get("/")
        list(api.watch("/runs", "1", 5))
    assert len(server.asked) == 2


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """What a pod has of its service account; and a server's identity that its authority signed."""
    authority = Authority(tmp_path / "authority")
    authority.issue(tmp_path / "identity")
    (tmp_path / "ca.crt").write_text(authority.certificate)
    (tmp_path / "namespace").write_text("lab")
    (tmp_path / "token").write_text("one")
    return tmp_path


def in_pod(account: Path, server: Server) -> Access:
    port = str(server.server_port)
    return from_service_account(account, {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port})


class Hasty(InClusterConfigLoader):  # type: ignore[misc]
    """Reads the token again after no time instead of a minute."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._token_refresh_period = timedelta(0)


def test_a_pod_signs_in_by_its_service_account(monkeypatch: pytest.MonkeyPatch, account: Path) -> None:
    """Over TLS, with the token that was written last, without a line's end: the kubelet replaces it in its time."""
    monkeypatch.setattr(access, "InClusterConfigLoader", Hasty)
    with serving(Server(account / "identity")) as server, KubernetesApi(in_pod(account, server)) as api:
        assert api.access.namespace == "lab"
        for word in ("one", "two"):
            (account / "token").write_text(f"{word}\n")
            api.get("/")
        (account / "token").unlink()
        with pytest.raises(UnavailableError, match="token"):
            api.get("/")
    assert [who for _, _, who, _ in server.asked] == ["bearer one", "bearer two"]


def test_a_server_of_another_authority_is_told_nothing(account: Path) -> None:
    """Its certificate is not what the service account trusts: the error says so, and no token was sent."""
    (account / "ca.crt").write_text(Authority(account / "stranger").certificate)
    with serving(Server(account / "identity")) as server, KubernetesApi(in_pod(account, server)) as api:
        with pytest.raises(UnavailableError, match=r"does not answer: (?s:.*)CERTIFICATE_VERIFY_FAILED"):
            api.get("/")
        assert server.asked == []


def test_outside_a_pod_a_kubeconfig_is_asked_for(tmp_path: Path) -> None:
    """Without a service account the error says what to set."""
    with pytest.raises(InvalidInputError, match=r"launch\.kubeconfig: empty, .*; name a kubeconfig"):
        from_service_account(tmp_path, {})


def signed(access: Access) -> object:
    return access.configuration.get_api_key_with_prefix("authorization")


def test_a_kubeconfig_is_read_for_its_current_context(tmp_path: Path) -> None:
    """Server, namespace and token are that context's; a token file is found beside the kubeconfig."""
    access = from_kubeconfig(kubeconfig(tmp_path, {"token": "t"}))
    assert (access.configuration.host, access.namespace, signed(access)) == ("http://b:1", "of-b", "Bearer t")
    (tmp_path / "secret").write_text("f")
    assert signed(from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": "secret"}))) == "Bearer f"


def test_a_token_file_is_read_for_every_call(tmp_path: Path, server: Server) -> None:
    """Without the line's end and over a token that is written beside it; one that goes is waited for."""
    (tmp_path / "secret").write_text("one\n")
    access = from_kubeconfig(kubeconfig(tmp_path, {"token": "old", "tokenFile": "secret"}, server.url))
    with KubernetesApi(access) as api:
        for word in ("one", "two"):
            (tmp_path / "secret").write_text(f"{word}\n")
            api.get("/")
        (tmp_path / "secret").unlink()
        with pytest.raises(UnavailableError, match="secret"):
            api.get("/")
    assert [who for _, _, who, _ in server.asked] == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("text", ["\n", "one\ntwo\n"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    """Nothing, or more than a token: the error names the file."""
    (tmp_path / "secret").write_text(text)
    with pytest.raises(InvalidInputError, match=r"launch\.kubeconfig: .*tokenFile .*/secret has \d words"):
        from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": "secret"}))


def test_a_token_in_a_kubeconfig_is_used_without_the_line_s_end(tmp_path: Path, server: Server) -> None:
    """As a YAML block leaves it (`token: |`), in every call and watch."""
    with KubernetesApi(from_kubeconfig(kubeconfig(tmp_path, {"token": "one\n"}, server.url))) as api:
        api.get("/")
        list(api.watch("/runs", "1", 5))
    assert [who for _, _, who, _ in server.asked] == ["Bearer one", "Bearer one"]


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("\n", "has 0 words"),
        ("s3cret\ntwo\n", "has 2 words"),
        ("s3cret\u2026", "has letters"),
        ("s3\0cret", "has letters"),
    ],
)
def test_a_token_in_a_kubeconfig_that_is_none_is_refused(tmp_path: Path, token: str, words: str) -> None:
    """The error names file and field and what is wrong, and tells nothing of the token."""
    with pytest.raises(InvalidInputError, match=rf"launch\.kubeconfig: .*: users\[me\]\.token {words}") as refusal:
        from_kubeconfig(kubeconfig(tmp_path, {"token": token}))
    assert "cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"current-context": "c"}, "Expected object with name c in .*contexts"),
        ({"clusters": [{"name": "b", "cluster": {}}]}, "no server"),
        ({"clusters": [{"name": "b", "cluster": {"server": "https://b", "certificate-authority": "x"}}]}, "not exist"),
        ({"contexts": [{"name": "b", "context": "c"}]}, ""),
    ],
)
def test_a_kubeconfig_that_is_incomplete_is_refused(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    """The error names the file and what it lacks."""
    path = kubeconfig(tmp_path, {})
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **wrong}))
    with pytest.raises(InvalidInputError, match=rf"launch\.kubeconfig: {path}: .*{words}.*; name a kubeconfig"):
        from_kubeconfig(path)


@pytest.mark.parametrize("text", ["", "text", "- 1", "{"])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, text: str) -> None:
    """Whatever its content is, and where there is none."""
    with pytest.raises(InvalidInputError, match="none"):
        from_kubeconfig(tmp_path / "none")
    (tmp_path / "config").write_text(text)
    with pytest.raises(InvalidInputError, match=r"(?s)launch\.kubeconfig: .*; name a kubeconfig"):
        from_kubeconfig(tmp_path / "config")
