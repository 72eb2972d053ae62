"""Training jobs as processes, one life after the other, their objects in a real MinIO."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore

ROOT = Path(__file__).resolve().parents[2]
LIFE_SECONDS = 600.0


class Job:
    """The job of that module called `name`; `own` are its settings besides those all jobs have."""

    def __init__(self, folder: Path, store_url: str, module: str, name: str, own: Mapping[str, Any]) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.store = open_store(store_url)
        self.name = name
        self._module = module
        settings = {
            "store": store_url,
            "init_checkpoint": "runs/r/checkpoints/base",
            "output_key": f"runs/r/checkpoints/{name}",
            "job_key": f"runs/r/jobs/{name}",
            "work_dir": str(self.folder / "work"),
            "seed": 5,
            "engine": {"device": "cpu"},
        }
        self._config = self.folder / "job.yaml"
        self._config.write_text(yaml.safe_dump(settings | dict(own)))

    def live(self, *trap: str) -> int:
        """One start of the job: its status."""
        watched = ["tests.chaos.killable"] if trap else []
        command = [sys.executable, "-m", *watched, self._module, *trap, "--config", str(self._config)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}"}
        with (self.folder / "log").open("ab") as log:
            return subprocess.run(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False, timeout=LIFE_SECONDS
            ).returncode

    @property
    def weights(self) -> bytes:
        """Those it ended with."""
        return self.store.get(f"runs/r/checkpoints/{self.name}/model.safetensors")

    def objects(self, folder: str) -> dict[str, bytes]:
        """What it left below its key."""
        return objects(self.store, f"runs/r/jobs/{self.name}/{folder}/")


def objects(store: ObjectStore, prefix: str) -> dict[str, bytes]:
    return {key.removeprefix(prefix): store.get(key) for key in store.list(prefix)}


def prepare(folder: Path, store_url: str) -> None:
    """A tiny checkpoint and data set, for all jobs."""
    sys.path.append(str(ROOT / "tests/integration/job"))
    from tiny_world import build_world  # noqa: PLC0415 - it imports torch

    store, world = open_store(store_url), build_world(folder)
    store.upload("runs/r/checkpoints/base", folder / "init")
    store.put("runs/r/datasets/data.jsonl", world.store.get("data.jsonl"))
