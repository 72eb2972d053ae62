"""`python -m tools.keda_scaler`: KEDA's own Kafka scaler as a program, once, in the user's cache folder.

Its module is obtained by Go, which checks it; of the many scalers all but Kafka's are left out, and what keda_scaler/
says is built inside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retrograde.cli.servers.obtain import cache_folder, made_at, missing_tools, run_tool
from retrograde.runtime.errors import NotFoundError, UnavailableError

KEDA_VERSION = "v2.21.0"
_CHECKSUM = "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="
_MODULE = f"github.com/kedacore/keda/v2@{KEDA_VERSION}"
_MAIN = Path(__file__).resolve().parent / "keda_scaler" / "main.go"
_KEPT = {"kafka_scaler.go", "scaler.go"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scaler answers: the lag it tells the autoscaler, whether there is work, and the lag for which a pod is."""

    lag: int
    is_active: bool
    lag_of_a_pod: int


def own_answer(metadata: Mapping[str, str], secrets: Mapping[str, str] | None = None) -> Answer:
    """What KEDA's scaler answers about a trigger, with the parameters that a TriggerAuthentication takes from Secrets.

    Raises NotFoundError when it was not obtained.
    """
    if not _place().exists():
        raise NotFoundError(f"KEDA's scaler is not in {_place()}: run `python -m tools.keda_scaler`")
    given = json.dumps({"metadata": dict(metadata), "secrets": dict(secrets or {})})
    said = subprocess.run([_place()], input=given, capture_output=True, text=True, check=True, timeout=120)
    return Answer(**json.loads(said.stdout))


def obtain() -> Path:
    """The program, built when it is not there. Raises NotFoundError without Go."""
    if not _place().exists():
        if missing_tools("go"):
            raise NotFoundError("KEDA's scaler needs go: install it, try again")
        print(f"building {_place()} (minutes)", flush=True)
        made_at(_place(), _build)
    return _place()


def _place() -> Path:
    return cache_folder() / "bin" / f"keda-scaler-{KEDA_VERSION}"


def _build(folder: Path) -> Path:
    with zipfile.ZipFile(_download()) as module:
        module.extractall(folder)
    source = folder / _MODULE
    for file in (source / "pkg" / "scalers").glob("*.go"):
        if file.name not in _KEPT:
            file.unlink()
    (source / "scaler").mkdir()
    shutil.copy(_MAIN, source / "scaler")
    command = ["nice", "go", "build", "-p", "2", "-buildvcs=false", "-ldflags", "-s -w", "-o", f"{folder}/", "./scaler"]
    run_tool(command, os.environ | {"CGO_ENABLED": "0"}, source)
    return folder / "scaler"


def _download() -> Path:
    """The module's archive, with the content that it had when this was written."""
    command = ["go", "mod", "download", "-json", _MODULE]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if said["Sum"] != _CHECKSUM:
        raise UnavailableError(f"{_MODULE} is {said['Sum']} and not {_CHECKSUM}; it is not built")
    return Path(said["Zip"])


if __name__ == "__main__":
    obtain()
