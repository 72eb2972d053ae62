"""The little of the Kubernetes API that the trainer needs: objects as mappings, by their paths. Blocking.

404 NotFoundError    409 ConflictError    410 ExpiredError    400, 422 InvalidInputError
no answer, 401, 403, 429, 5xx             UnavailableError: a run waits for it, and for whoever corrects its rights
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import urllib3

from retrograde.runtime.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RetrogradeError,
    UnavailableError,
)
from services.trainer.kubernetes.access import Access

Object = dict[str, Any]
_CLASSES: Mapping[int, type[RetrogradeError]] = {
    400: InvalidInputError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidInputError,
}
_GONE = 410
_BAD = 400


class ExpiredError(UnavailableError):
    """That resource version is too old to watch from: list again."""


class KubernetesApi:
    """One API server. A context manager."""

    def __init__(self, access: Access, timeout_seconds: float = 30.0) -> None:
        self.access = access
        self._timeout = timeout_seconds
        self._pool = urllib3.PoolManager(ssl_context=access.tls, retries=False, maxsize=16)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.clear()

    def get(self, path: str, **query: str) -> Object:
        """An object, or with a collection's path the list of its objects."""
        return self._json("GET", path, query)

    def offers(self, path: str) -> bool:
        """Whether the server knows this path."""
        try:
            self.get(path)
        except NotFoundError:
            return False
        return True

    def create(self, path: str, body: Object) -> Object:
        """The object as it was made in the collection at `path`. Raises ConflictError where there is one."""
        return self._json("POST", path, body=body)

    def replace(self, path: str, body: Object) -> Object:
        """Raises ConflictError when it changed since `body` was read."""
        return self._json("PUT", path, body=body)

    def patch(self, path: str, body: Object) -> Object:
        """Merges `body` into the object (RFC 7386)."""
        return self._json("PATCH", path, body=body, content_type="application/merge-patch+json")

    def delete(self, path: str, uid: str) -> None:
        """Deletes the object of that uid, after all that belongs to it; returns at once."""
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        self._json("DELETE", path, body=options)

    def text(self, path: str, **query: str) -> str:
        """What is not JSON: a log."""
        return self._request("GET", path, query).data.decode(errors="replace")

    def watch(self, path: str, resource_version: str, seconds: int) -> Iterator[Object]:
        """The collection's events after that version, until the server ends it after `seconds`. Raises ExpiredError."""
        query = {"watch": "true", "resourceVersion": resource_version, "timeoutSeconds": str(seconds)}
        response = self._request("GET", path, query, timeout=seconds + self._timeout, preload=False)
        try:
            for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error(event["object"].get("code", 0), path, json.dumps(event["object"]).encode())
                yield event
        except urllib3.exceptions.HTTPError as error:
            raise UnavailableError(f"the API server ended the watch of {path}: {error}") from error
        finally:
            response.close()

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        answer: Object = json.loads(self._request(method, path, query, body=body, content_type=content_type).data)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout: float | None = None,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        url = self.access.server + path
        try:
            response = self._pool.request(
                method,
                f"{url}?{urlencode(query)}" if query else url,
                body=None if body is None else json.dumps(body).encode(),
                headers={**self.access.headers(), "Content-Type": content_type},
                timeout=urllib3.Timeout(total=timeout or self._timeout),
                preload_content=preload,
            )
            if response.status >= _BAD:
                raise _error(response.status, path, response.data)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"the API server {self.access.server} does not answer: {error}") from error
        return response


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    for part in response.stream(1 << 16):
        *lines, rest = (rest + part).split(b"\n")
        yield from lines


def _error(status: int, path: str, body: bytes) -> RetrogradeError:
    """What the server says of it, as the error of ours."""
    try:
        words = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        words = body.decode(errors="replace")[:200]
    cls = ExpiredError if status == _GONE else _CLASSES.get(status, UnavailableError)
    return cls(f"the API server refused {path} with {status}: {words}")
