"""How to reach the API server: as a pod, by its service account, or from outside, by a kubeconfig.

A token is read again for each request: the kubelet replaces it while the pod runs. Of a kubeconfig the current context
counts, with a token, a token file or a client certificate; for any other way of signing in, `kubectl proxy` is a server
that needs none.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retrograde.runtime.errors import InvalidInputError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Access:
    """A server, how its certificate is checked, who we are, and the namespace to work in by default."""

    server: str
    namespace: str
    token_file: Path | None = None
    token: str = ""
    tls: ssl.SSLContext | None = None

    def headers(self) -> dict[str, str]:
        """Who asks."""
        token = self.token_file.read_text(encoding="utf-8").strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def from_service_account(folder: Path = _ACCOUNT, environment: Mapping[str, str] = os.environ) -> Access:
    """Inside a pod. Raises InvalidInputError elsewhere."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / "token").exists():
        raise InvalidInputError(
            f"launch.kubeconfig: empty, and this process has no service account in {folder}; "
            "name a kubeconfig, or mount the pod's token (automountServiceAccountToken: true)"
        )
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=(folder / "namespace").read_text(encoding="utf-8").strip(),
        token_file=folder / "token",
        tls=ssl.create_default_context(cafile=str(folder / "ca.crt")),
    )


def from_kubeconfig(path: Path) -> Access:
    """The current context of the file. Raises InvalidInputError naming what is missing."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"])["user"]
        server = cluster["server"].rstrip("/")
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"launch.kubeconfig: {path}: {_words(error)}; name a kubeconfig whose current context is complete"
        ) from error
    return Access(
        server=server,
        namespace=context.get("namespace", "default"),
        token=user.get("token", ""),
        token_file=path.parent / user["tokenFile"] if "tokenFile" in user else None,
        tls=_tls(path.parent, cluster, user) if server.startswith("https:") else None,
    )


def _named(config: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    for entry in config[kind]:
        if entry["name"] == name:
            found: Mapping[str, Any] = entry
            return found
    raise KeyError(f"{kind}: {name}")


def _words(error: Exception) -> str:
    return f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _tls(folder: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    data = cluster.get("certificate-authority-data")
    file = cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cafile=str(folder / file) if file else None, cadata=base64.b64decode(data).decode() if data else None
    )
    if "client-certificate" in user:
        context.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
    return context
