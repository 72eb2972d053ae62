"""The API server by the `kubernetes` package: objects as mappings, by their paths. Blocking.

Its dynamic client makes the calls and is told the paths: Jobs, JobSets and Runs are alike to it, and it need not ask a
server what it serves, which may be away when the trainer starts. Its errors become ours:

404 NotFoundError    409 ConflictError    410 ExpiredError    400, 422 InvalidInputError    403 ForbiddenError
no answer, 401, 429, 5xx                  UnavailableError, as 403 and 410 are: a run waits, also for rights

A change is given to the server with a deadline before our own: none is made after we went on without its answer.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException
from kubernetes.dynamic import DynamicClient
from kubernetes.watch import Watch

from retrograde.runtime.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RetrogradeError,
    UnavailableError,
)
from services.trainer.kubernetes.access import Access

Object = dict[str, Any]
_SERVER_SHARE = 0.9  # of our patience


class ExpiredError(UnavailableError):
    """That resource version is too old to watch from: list again."""


class ForbiddenError(UnavailableError):
    """The right is missing. Without it the server does not say either whether it serves such a resource at all."""


_CLASSES: Mapping[int, type[RetrogradeError]] = {
    400: InvalidInputError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    422: InvalidInputError,
}


class KubernetesApi:
    """One API server. A context manager."""

    def __init__(self, access: Access, timeout_seconds: float = 30.0) -> None:
        self.access = access
        self._timeout = timeout_seconds
        Configuration.set_default(access.configuration)  # of a Watch's own client: no proxies there either
        self._client = ApiClient(access.configuration)
        self._client.user_agent = "retrograde-trainer"
        self._call = DynamicClient(self._client, discoverer=lambda *_: None).request

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.rest_client.pool_manager.clear()

    def get(self, path: str, **query: str) -> Object:
        """An object, or with a collection's path the list of its objects."""
        return self._json("get", path, query_params=list(query.items()))

    def offers(self, path: str) -> bool:
        """Whether the server knows this path."""
        try:
            self.get(path)
        except NotFoundError:
            return False
        return True

    def create(self, path: str, body: Object) -> Object:
        """The object as it was made in the collection at `path`. Raises ConflictError where there is one."""
        return self._change("post", path, body=body)

    def replace(self, path: str, body: Object) -> Object:
        """Raises ConflictError when it changed since `body` was read."""
        return self._change("put", path, body=body)

    def patch(self, path: str, body: Object) -> Object:
        """Merges `body` into the object (RFC 7386)."""
        return self._change("patch", path, body=body, content_type="application/merge-patch+json")

    def delete(self, path: str, uid: str) -> None:
        """Deletes the object of that uid, after all that belongs to it; returns at once."""
        self._change("delete", path, body={"propagationPolicy": "Foreground", "preconditions": {"uid": uid}})

    def text(self, path: str, **query: str) -> str:
        """What is not JSON: a log."""
        return self._answer("get", path, query_params=list(query.items())).decode(errors="replace")

    def watch(self, path: str, resource_version: str, seconds: int) -> Iterator[Object]:
        """The collection's events after that version, until the server ends it after `seconds`. Raises ExpiredError."""
        patience = (self._timeout, seconds + self._timeout)
        listed = functools.partial(self._call, "get", path, serialize=False, _request_timeout=patience)
        with self._told(path):
            yield from Watch().stream(listed, resource_version=resource_version, timeout_seconds=seconds)

    def _change(self, method: str, path: str, **options: Any) -> Object:
        return self._json(method, path, query_params=[("timeout", f"{_SERVER_SHARE * self._timeout:.3f}s")], **options)

    def _json(self, method: str, path: str, **options: Any) -> Object:
        answer: Object = json.loads(self._answer(method, path, **options))
        return answer

    def _answer(self, method: str, path: str, **options: Any) -> bytes:
        patience = (self._timeout, self._timeout)  # to connect, to read; the package takes no fraction but in a pair
        with self._told(path):
            data: bytes = self._call(method, path, serialize=False, _request_timeout=patience, **options).data
        return data

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Errors of the package, as errors of ours."""
        try:
            yield
        except ApiException as error:
            if error.status:
                raise _refusal(error, path) from error
            raise self._silence(error.reason) from error  # TLS
        except (urllib3.exceptions.HTTPError, ConfigException, OSError) as error:
            raise self._silence(error) from error

    def _silence(self, reason: object) -> UnavailableError:
        return UnavailableError(f"the API server {self.access.configuration.host} does not answer: {reason}")


def _refusal(error: ApiException, path: str) -> RetrogradeError:
    """What the server says of it; a watch tells it as the reason."""
    try:
        words = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        words = error.body.decode(errors="replace")[:200] if error.body else error.reason
    cls = _CLASSES.get(error.status, UnavailableError)
    return cls(f"the API server refused {path} with {error.status}: {words}")
