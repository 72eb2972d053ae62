"""Stores a folder and fetches it again: `python -m benchmarks.store_process URL FOLDER BACK`; prints what it took."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from retrograde.runtime.adapters import open_store


def main(url: str, folder: str, back: str) -> None:
    """One set, up and down."""
    store = open_store(url)
    began = time.perf_counter()
    store.upload(f"checkpoints/{Path(folder).name}", Path(folder))
    stored = time.perf_counter()
    store.download(f"checkpoints/{Path(folder).name}", Path(back))
    fetched = time.perf_counter()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"up_seconds": stored - began, "down_seconds": fetched - stored, "peak_bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
