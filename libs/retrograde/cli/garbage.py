"""What ended runs leave in their store that nobody needs any more, and how it goes.

    ended_run    the run's state; refused unless it has ended
    find         its leftovers by kind, without touching anything
    clear        half uploads, then what declares sets whole, then everything else

Leftovers are logs of unfinished trees, saves of training jobs, policies published during RL, and uploads that were
never finished; with `keeps_report` all but the run's state, its history, its recipe and its report. A policy that an
inference service would serve again after a restart stays. Interrupted, the same call goes on: no set is left that
claims to be whole, and what says that the run ended is never deleted.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.runtime.objects import HalfUpload, Listed, SweepableStore
from retrograde.v1 import run_pb2

_ENDED = (run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED)
_NEEDED_TO_GO_ON = re.compile(r"tree-logs/|policies/|jobs/[^/]+/state/")
_REPORT = re.compile(r"(run\.pb|recipe\.json|report\.json|report\.html)$|history/")
_DECLARATIONS = ("/MANIFEST.json", "/COMPLETE.json")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Garbage:
    """What may go of one run, by kind: the first folder of its keys."""

    run_id: str
    objects: dict[str, list[Listed]]
    half_uploads: Sequence[HalfUpload]


def ended_run(store: SweepableStore, run_id: str) -> run_pb2.Run:
    """The run's state. Raises NotFoundError for an unknown run, InvalidInputError for one that has not ended."""
    try:
        run = run_pb2.Run.FromString(store.get(f"runs/{run_id}/run.pb"))
    except NotFoundError as error:
        raise NotFoundError(
            f"RUN_ID: {run_id!r} is unknown in this store; its folders in runs/ have the names"
        ) from error
    if run.state not in _ENDED:
        state = run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
        raise InvalidInputError(f"RUN_ID: {run_id!r} is {state}; cancel it, or wait until it has ended")
    return run


def idle_seconds(store: SweepableStore, run: run_pb2.Run) -> float:
    """How long ago the last thing happened to it."""
    events = list(store.list(f"runs/{run.id}/history/"))
    last = run_pb2.RunEvent.FromString(store.get(events[-1])).at if events else run.created_at
    return time.time() - last.ToSeconds()


def seconds_of(text: str) -> float:
    """A duration such as "30d"; units are s, m, h and d. Raises InvalidInputError."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise InvalidInputError(f"--older-than: {text!r} is no duration; write a number and s, m, h or d, such as 30d")
    return int(match[1]) * float(_SECONDS[match[2]])


def find(store: SweepableStore, run_id: str, *, keeps_report: bool) -> Garbage:
    """What may go of the run."""
    prefix, served = f"runs/{run_id}/", list(_served(store))
    found: dict[str, list[Listed]] = {}
    for listed in store.sizes(prefix):
        name = listed.key.removeprefix(prefix)
        may_go = _REPORT.match(name) is None if keeps_report else _NEEDED_TO_GO_ON.match(name) is not None
        if may_go and not any(listed.key.startswith(f"{key}/") for key in served):
            found.setdefault(name.partition("/")[0], []).append(listed)
    return Garbage(run_id, found, list(store.half_uploads(prefix)))


def clear(store: SweepableStore, garbage: Garbage) -> Iterator[None]:
    """Deletes it; yields after each thing. What is gone already is fine."""
    for half in garbage.half_uploads:
        half.abort()
        yield
    for key in _declarations_first(listed.key for kind in garbage.objects.values() for listed in kind):
        store.delete(key)
        yield


def _declarations_first(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: (not key.endswith(_DECLARATIONS), key))


def _served(store: SweepableStore) -> Iterator[str]:
    """Keys of the checkpoints that inference services serve."""
    for key in store.list("inference/"):
        if key.endswith("/current.json"):
            yield json.loads(store.get(key))["checkpoint_key"]
