"""`retrograde gc` on every store: what of a run goes, what stays, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from retrograde.cli import garbage
from retrograde.cli.__main__ import main
from retrograde.v1 import run_pb2

if TYPE_CHECKING:
    from retrograde.runtime.objects import SweepableStore

LEFTOVERS = {
    "tree-logs/p1/000001-0123abcd-000000.pb": b"log",
    "jobs/astro_sft/state/000010/node-0/MANIFEST.json": b"{}",
    "jobs/astro_sft/state/000010/node-0/shard": b"s" * 100,
    "jobs/astro_sft/state/000010/COMPLETE.json": b"{}",
    "policies/astro_rl/000003/model.safetensors": b"w" * 50,
}
LAST_EVENT = "history/000002-0123abcd.pb"
REPORT = {"recipe.json": b"{}", "report.html": b"<html>", "report.json": b"{}"}
RESULTS = {
    "trees/p1.pb": b"tree",
    "checkpoints/astro_sft/MANIFEST.json": b"{}",
    "jobs/astro_sft/steps/000001.json": b"{}",
    "feeds/astro_rl/ledger/000000000.json": b"{}",
}
Command = Callable[..., tuple[int, str]]


def fill(store: SweepableStore, run_id: str, state: run_pb2.RunState.ValueType, ended_at: float = 0) -> None:
    """A run of everything a run may hold."""
    run = run_pb2.Run(id=run_id, state=state, stages=[run_pb2.Stage(name="search")])
    ended = run_pb2.RunEvent(number=2, ended=run_pb2.RunEnded(state=state))
    ended.at.FromSeconds(int(ended_at))
    told = {"run.pb": run.SerializeToString(), LAST_EVENT: ended.SerializeToString()}
    files = LEFTOVERS | RESULTS | REPORT | told
    for name, data in files.items():
        store.put(f"runs/{run_id}/{name}", data)


def names(store: SweepableStore, run_id: str) -> set[str]:
    return {key.removeprefix(f"runs/{run_id}/") for key in store.list(f"runs/{run_id}/")}


def listing(what: str) -> str:
    return (
        f"r: jobs: 3 objects, 104 bytes {what}\nr: policies: 1 objects, 50 bytes {what}\n"
        f"r: tree-logs: 1 objects, 3 bytes {what}\n"
    )


@pytest.fixture
def gc(store_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Status and output of `retrograde gc`."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["retrograde", "gc", "--store", store_url, *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out + printed.err

    return run


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELLED"])
def test_only_leftovers_go(store: SweepableStore, gc: Command, state: str) -> None:
    """Of a run that has ended its results and its report stay; a run whose name begins the same is not touched."""
    fill(store, "r", run_pb2.RunState.Value(f"RUN_STATE_{state}"))
    fill(store, "r2", run_pb2.RUN_STATE_RUNNING)
    assert gc("r") == (
        0,
        listing("gone"),
    )
    assert names(store, "r") == {"run.pb", LAST_EVENT, *REPORT, *RESULTS}
    assert names(store, "r2") == {"run.pb", LAST_EVENT, *REPORT, *RESULTS, *LEFTOVERS}
    assert gc("r") == (0, "r: nothing to clear\n")


def test_a_dry_run_tells_and_changes_nothing(store: SweepableStore, gc: Command) -> None:
    """--dry-run prints what would go, by kind with counts and bytes, and every object is still there."""
    fill(store, "r", run_pb2.RUN_STATE_SUCCEEDED)
    before = list(store.sizes(""))
    assert gc("r", "--dry-run") == (
        0,
        listing("would go"),
    )
    assert list(store.sizes("")) == before


def test_all_but_the_report(store: SweepableStore, gc: Command) -> None:
    """--keep-report leaves the run's state, its recipe and its report."""
    fill(store, "r", run_pb2.RUN_STATE_SUCCEEDED)
    assert gc("r", "--keep-report")[0] == 0
    assert names(store, "r") == {"run.pb", LAST_EVENT, *REPORT}


@pytest.mark.parametrize("other", ["running", "unknown"])
def test_a_run_that_has_not_ended_is_refused(store: SweepableStore, gc: Command, other: str) -> None:
    """With a running or unknown run among them, nothing of any run is touched; status 2 and one line."""
    fill(store, "r", run_pb2.RUN_STATE_SUCCEEDED)
    fill(store, "running", run_pb2.RUN_STATE_RUNNING)
    before = list(store.list(""))
    status, said = gc("r", other)
    assert (status, said.count("\n")) == (2, 1)
    assert f"RUN_ID: '{other}' is {other}" in said
    assert list(store.list("")) == before


def test_young_runs_are_left(store: SweepableStore, gc: Command) -> None:
    """--older-than 1h clears the run that ended two hours ago and not the one that ended now."""
    fill(store, "old", run_pb2.RUN_STATE_SUCCEEDED, time.time() - 7200)
    fill(store, "new", run_pb2.RUN_STATE_SUCCEEDED, time.time())
    status, said = gc("old", "new", "--older-than", "1h")
    assert (status, said.splitlines()[-1]) == (0, "new: kept, ended less than 1h ago")
    assert "tree-logs/p1/000001-0123abcd-000000.pb" not in names(store, "old")
    assert names(store, "new") >= set(LEFTOVERS)


@pytest.mark.parametrize("duration", ["30", "d", "1w", "-1d", ""])
def test_a_wrong_duration_is_refused(gc: Command, duration: str) -> None:
    """What is no duration is named with an example."""
    status, said = gc("r", f"--older-than={duration}")
    assert status == 2
    assert f"--older-than: {duration!r} is no duration" in said


def test_a_policy_that_is_served_stays(store: SweepableStore, gc: Command) -> None:
    """What an inference service would load after a restart is kept, whatever run it is of."""
    fill(store, "r", run_pb2.RUN_STATE_SUCCEEDED)
    store.put("inference/m/current.json", b'{"checkpoint_key": "runs/r/policies/astro_rl/000003", "policy_version": 3}')
    assert gc("r")[0] == 0
    assert names(store, "r") & set(LEFTOVERS) == {"policies/astro_rl/000003/model.safetensors"}


def test_interrupted_anywhere_it_can_be_run_again(store: SweepableStore) -> None:
    """Ended after each deletion: no save claims to be whole while a part of it is gone; at last all is cleared."""
    fill(store, "r", run_pb2.RUN_STATE_SUCCEEDED)
    save = {name for name in LEFTOVERS if name.startswith("jobs/")}
    for _ in range(len(LEFTOVERS)):
        next(garbage.clear(store, garbage.find(store, "r", keeps_report=False)))
        left = names(store, "r") & save
        assert left == save or "jobs/astro_sft/state/000010/COMPLETE.json" not in left
    assert names(store, "r") == {"run.pb", LAST_EVENT, *REPORT, *RESULTS}
