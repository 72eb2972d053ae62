"""Puts the packages of requirements/interop.txt into a folder of the cache, once, and prints where it is.

Their dependencies conflict with the local profile's, so they are installed without any and stay out of .venv; whoever
puts the folder first on PYTHONPATH sees them and, behind them, what .venv has.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from retrograde.cli.servers.obtain import cache_folder

LOCK = Path(__file__).resolve().parents[1] / "requirements" / "interop.txt"


def folder() -> Path:
    """Where the packages of this lock file are, or would be."""
    name = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    return cache_folder() / f"interop-{name}"


def obtain() -> Path:
    """Installs what is not there: beside its place, then moved, so that half an installation is never taken for one."""
    place = folder()
    if place.exists():
        return place
    print(f"setup: installing verl, OpenRLHF and verifiers for tests into {place} (240 MB)", file=sys.stderr)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".partial-") as partial:
        made = Path(partial) / "packages"
        uv = [Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--python", sys.executable]
        pinned = ["--no-deps", "--require-hashes", "--no-build-isolation"]  # no wheel: built here
        subprocess.run([*uv, *pinned, "--target", made, "--requirement", LOCK], check=True)
        if not place.exists():
            made.rename(place)
    return place


if __name__ == "__main__":
    print(obtain())
