"""What `retrograde gc` leaves of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrograde.cli.garbage import find
from retrograde.runtime.adapters.directory_store import DirectoryStore

LEFT = ("history/000001-ab.pb", "recipe.json", "report.html", "report.json", "run.pb")
GONE = (
    "historybook.json",
    "jobs/astro_rl/state/1/COMPLETE.json",
    "policies/astro_rl/000001/MANIFEST.json",
    "run.pb.old",
)


@pytest.mark.parametrize("keeps_report", [True, False])
def test_what_happened_to_a_run_is_never_cleared(tmp_path: Path, *, keeps_report: bool) -> None:
    """State, history, recipe and report stay whatever else goes."""
    store = DirectoryStore(tmp_path)
    for name in (*LEFT, *GONE):
        store.put(f"runs/r/{name}", b"x")
    found = find(store, "r", keeps_report=keeps_report).objects.values()
    names = sorted(listed.key.removeprefix("runs/r/") for kind in found for listed in kind)
    assert names == sorted(GONE if keeps_report else GONE[1:3])
