"""Programs that tests of the S3 store start as processes of their own: `python children.py NAME URL ...`."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from retrograde.runtime.adapters import open_store


def store(url: str, prefix: str, folder: str) -> None:
    """Stores a folder."""
    open_store(url).upload(prefix, Path(folder))


def memory(url: str, prefix: str, folder: str, back: str) -> None:
    """Stores a folder and fetches it; prints by how many bytes that raised the most it ever had in memory."""
    opened = open_store(url)
    opened.put("warm", b"1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opened.upload(prefix, Path(folder))
    opened.download(prefix, Path(back))
    sys.stdout.write(f"{1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)}\n")


if __name__ == "__main__":
    {"store": store, "memory": memory}[sys.argv[1]](*sys.argv[2:])
