"""An API server in memory: objects by their paths, with uids, versions, deletion that waits for finalizers, watches."""

from __future__ import annotations

import copy
import itertools
import queue
from collections.abc import Iterator
from typing import Any

from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError, RetrogradeError
from services.trainer.kubernetes.access import Access
from services.trainer.kubernetes.api import ForbiddenError

Object = dict[str, Any]


class FakeApi:
    """`faults` are raised by the next calls of their method; `calls` are (method, path); `unknown` is not served.

    Nobody may read what begins with one of `forbidden`.
    """

    def __init__(self) -> None:
        self.access = Access(configuration=None, namespace="lab")
        self.objects: dict[str, Object] = {}
        self.texts: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.faults: dict[str, list[Exception]] = {}
        self.events: queue.SimpleQueue[Object | RetrogradeError | None] = queue.SimpleQueue()
        self.deletes_at_once = True
        self.unknown = ""
        self.forbidden: tuple[str, ...] = ()
        self._numbers = itertools.count(1)

    def get(self, path: str, **query: str) -> Object:
        self._called("get", path)
        if path == self.unknown:
            raise NotFoundError(path)
        if path.startswith(self.forbidden):
            raise ForbiddenError(path)
        if path in self.objects:
            return copy.deepcopy(self.objects[path])
        items = [each for key, each in self.objects.items() if key.rpartition("/")[0] == path]
        if not items and path.rpartition("/")[2] not in {"jobs", "jobsets", "pods", "runs"}:
            raise NotFoundError(path)
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        items = [each for each in items if name in {"", each["metadata"]["name"]}]
        wanted = dict(each.split("=") for each in query.get("labelSelector", "").split(",") if each)
        found = [each for each in items if wanted.items() <= each["metadata"].get("labels", {}).items()]
        return {"items": copy.deepcopy(found), "metadata": {"resourceVersion": str(next(self._numbers))}}

    def offers(self, path: str) -> bool:
        return path in self.texts

    def create(self, path: str, body: Object) -> Object:
        self._called("create", path)
        key = f"{path}/{body['metadata']['name']}"
        if key in self.objects:
            raise ConflictError(key)
        self.objects[key] = copy.deepcopy(body)
        self.objects[key]["metadata"]["uid"] = f"uid-{next(self._numbers)}"
        self._changed(key)
        return copy.deepcopy(self.objects[key])

    def replace(self, path: str, body: Object) -> Object:
        self._called("replace", path)
        if self.objects[path]["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise ConflictError(path)
        self.objects[path] = copy.deepcopy(body)
        self._changed(path)
        return copy.deepcopy(body)

    def patch(self, path: str, body: Object) -> Object:
        self._called("patch", path)
        key = path.removesuffix("/status")
        if key not in self.objects:
            raise NotFoundError(path)
        _check(self.objects[key]["metadata"], body.get("metadata", {}))
        _merge(self.objects[key], body)
        self._changed(key)
        self._take_away(key)
        return body

    def delete(self, path: str, uid: str) -> None:
        self._called("delete", path)
        if path not in self.objects:
            raise NotFoundError(path)
        if self.objects[path]["metadata"]["uid"] != uid:
            raise ConflictError(path)
        self.objects[path]["metadata"]["deletionTimestamp"] = "now"
        self._changed(path)
        if self.deletes_at_once:
            self._take_away(path)

    def text(self, path: str, **query: str) -> str:
        self._called("text", path)
        if path not in self.texts:
            raise NotFoundError(path)
        return "".join(self.texts[path].splitlines(keepends=True)[-int(query["tailLines"]) :])

    def watch(self, path: str, resource_version: str, seconds: int) -> Iterator[Object]:
        self._called("watch", path)
        while True:
            try:
                event = self.events.get(timeout=0.05)
            except queue.Empty:
                return
            if isinstance(event, RetrogradeError):
                raise event
            if event is not None:
                yield event

    def add(self, path: str, body: Object) -> Object:
        """What somebody else puts there."""
        return self.create(path, body)

    def names(self, plural: str) -> list[str]:
        return [key.rpartition("/")[2] for key in self.objects if key.split("/")[-2] == plural]

    def _called(self, method: str, path: str) -> None:
        self.calls.append((method, path))
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    def _changed(self, key: str) -> None:
        thing = self.objects[key]
        thing["metadata"]["resourceVersion"] = str(next(self._numbers))
        if "/runs/" in key:
            self.events.put({"type": "MODIFIED", "object": copy.deepcopy(thing)})

    def _take_away(self, key: str) -> None:
        metadata = self.objects[key]["metadata"]
        if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
            return
        del self.objects[key]
        for other, thing in list(self.objects.items()):
            if any(owner["uid"] == metadata["uid"] for owner in thing["metadata"].get("ownerReferences", ())):
                del self.objects[other]


def _check(now: Object, changed: Object) -> None:
    """What the server refuses: a change of another version, and a new finalizer for what is being deleted."""
    if changed.get("resourceVersion", now["resourceVersion"]) != now["resourceVersion"]:
        raise ConflictError("the object has been modified")
    if "deletionTimestamp" in now and not set(changed.get("finalizers", ())) <= set(now.get("finalizers", ())):
        raise InvalidInputError("no new finalizers can be added if the object is being deleted")


def _merge(target: Object, patch: Object) -> None:
    """RFC 7386."""
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value
