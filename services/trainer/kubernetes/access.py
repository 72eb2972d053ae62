"""How to reach the API server: as a pod, by its service account, or from outside, by a kubeconfig.

The `kubernetes` package reads both. It reads a service account's token again every minute, because the kubelet replaces
it while the pod runs; of a kubeconfig the current context counts. A user's `tokenFile` it reads once, so that is read
here, for every call. Tokens are used without the white space around them, as a YAML block or an editor leaves it.
Proxies that the environment names are not used: the API server is inside. A call that fails is not repeated here: who
made it knows whether to.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from kubernetes.client import Configuration
from kubernetes.config import ConfigException, list_kube_config_contexts, load_kube_config
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.config.kube_config import KubeConfigMerger

from retrograde.runtime.errors import InvalidInputError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# what the package makes of a file of another shape
_UNREADABLE = (ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Access:
    """A server, how its certificate is checked and who we are; and the namespace to work in by default."""

    configuration: Configuration
    namespace: str


def from_service_account(folder: Path = _ACCOUNT, environment: Mapping[str, str] = os.environ) -> Access:
    """Inside a pod. Raises InvalidInputError elsewhere."""
    configuration = _configuration()
    try:
        InClusterConfigLoader(folder / "token", folder / "ca.crt", environ=environment).load_and_set(configuration)
        _Signing(configuration.refresh_api_key_hook, str(folder / "token"))(configuration)
        namespace = (folder / "namespace").read_text(encoding="utf-8").strip()
    except (ConfigException, OSError) as error:
        raise InvalidInputError(
            f"launch.kubeconfig: empty, and this process has no service account in {folder} ({error}); "
            "name a kubeconfig, or mount the pod's token (automountServiceAccountToken: true)"
        ) from error
    return Access(configuration, namespace)


def from_kubeconfig(path: Path) -> Access:
    """The current context of the file. Raises InvalidInputError naming what is missing."""
    configuration = _configuration()
    try:
        load_kube_config(str(path), client_configuration=configuration, persist_config=False)
        _, context = list_kube_config_contexts(str(path))
        if not configuration.host:
            raise ConfigException("no server in the cluster of the current context")
        user = context["context"].get("user", "")
        token_file = _token_file(path, user)
        if token_file:
            _Signing(functools.partial(_read_token, token_file), f"tokenFile {token_file}")(configuration)
        else:
            _Signing(configuration.refresh_api_key_hook, f"users[{user}].token")(configuration)
    except _UNREADABLE as error:
        raise InvalidInputError(
            f"launch.kubeconfig: {path}: {error}; name a kubeconfig whose current context is complete"
        ) from error
    return Access(configuration, context["context"].get("namespace", "default"))


def _token_file(path: Path, user: str) -> Path | None:
    """The user's, if it has one; a relative path begins at the kubeconfig that says it."""
    found = KubeConfigMerger(str(path)).config["users"].get_with_name(user, safe=True)
    token_file = found["user"].safe_get("tokenFile") if found else None
    return Path(found.path).parent / token_file if token_file else None


def _read_token(token_file: Path, configuration: Configuration) -> None:
    """Raises OSError."""
    configuration.api_key["authorization"] = f"Bearer {token_file.read_text(encoding='latin-1')}"


@dataclass(frozen=True, slots=True)
class _Signing:
    """Called for each request: has the token renewed, and leaves it fit for a header. No error tells a token.

    `renew` is what the package does, nothing where certificates sign; `source` names where the token is from.
    """

    renew: Callable[[Configuration], None] | None
    source: str

    def __call__(self, configuration: Configuration) -> None:
        """Raises ConfigException, OSError."""
        if self.renew:
            self.renew(configuration)
        configuration.refresh_api_key_hook = self  # the package has put its own there again
        if "authorization" in configuration.api_key:
            scheme, _, token = configuration.api_key["authorization"].partition(" ")
            configuration.api_key["authorization"] = f"{scheme} {self._checked(token)}"

    def _checked(self, token: str) -> str:
        words = token.split()
        if len(words) != 1:
            raise ConfigException(f"{self.source} has {len(words)} words; a token is one")
        if not (words[0].isascii() and words[0].isprintable()):
            raise ConfigException(f"{self.source} has letters that no token has; write ASCII alone")
        return words[0]


def _configuration() -> Configuration:
    configuration = Configuration()
    configuration.host = ""
    configuration.proxy = None
    configuration.retries = False
    return configuration
