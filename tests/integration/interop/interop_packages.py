"""Runs a program of this folder where the published packages are, and reads what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.interop import folder

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
UNIT = ROOT / "tests" / "unit" / "interop"
DEADLINE_SECONDS = 600.0


def path_with(*folders: Path) -> dict[str, str]:
    """This environment with these folders and the repository on PYTHONPATH; one thread, no GPU, no network."""
    paths = os.pathsep.join(map(str, [*folders, ROOT / "libs", ROOT, UNIT, ROOT / "examples"]))
    own = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    without = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    return {**os.environ, **own, **without}


def packages_folder() -> Path:
    """Where the packages are. Without them the test is skipped, and with CI=true it fails."""
    if not folder().exists():
        message = "verl, OpenRLHF and verifiers are not installed: `make interop`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder()


def run_with_packages(program: str, *arguments: str | Path) -> dict[str, Any]:
    """As `run_program`, where the packages are; see `packages_folder`."""
    return run_program(program, *arguments, packages=packages_folder())


def run_program(program: str, *arguments: str | Path, packages: Path | None = None) -> dict[str, Any]:
    """The JSON of the last line that a program of this folder prints; its output is the failure's message."""
    result = subprocess.run(
        [sys.executable, HERE / program, *arguments],
        env=path_with(packages) if packages else path_with(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found
