"""The report of a run: read its artifacts, put the figures in JSON, show them in HTML, store both."""

from __future__ import annotations

import json

from retrograde.analysis.artifacts import read_run
from retrograde.analysis.report_html import render
from retrograde.analysis.report_json import build_report
from retrograde.runtime.objects import ObjectStore


def write_report(store: ObjectStore, run_prefix: str) -> None:
    """Stores `report.html` and `report.json` under `run_prefix` ("runs/<run>").

    Deterministic: the same artifacts give the same bytes. Raises NotFoundError when there is no such run and
    InvalidInputError naming the object that cannot be read.
    """
    artifacts = read_run(store, run_prefix)
    report = build_report(artifacts)
    prefix = run_prefix.rstrip("/")
    store.put(f"{prefix}/report.html", render(report, artifacts).encode())
    store.put(f"{prefix}/report.json", (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
