"""A real `retrograde run` under attack: started as users start it, watched through its store, killed by pid."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from retrograde.recipe.recipe import load_recipe
from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.v1 import run_pb2

BASE = Path(__file__).resolve().parents[2] / "models" / "countdown-base"
_LOOK_EVERY_SECONDS = 0.1


def write_small_recipe(path: Path) -> Path:
    """The demo's recipe, cut down to what two cores do in about two minutes."""
    recipe = {
        "name": "chaos",
        "seed": 3,
        "task": "countdown",
        "policy": {"checkpoint": str(BASE), "max_model_tokens": 512},
        "problems": {
            "search": {"options": {"num_numbers": 3, "count": 40}},
            "rl": {"options": {"num_numbers": 3, "count": 16}},
            "evaluate": {"options": {"num_numbers": 3, "count": 12}},
        },
        "search": {"num_iterations": 5, "num_actions": 4, "num_rollouts": 2, "max_depth": 6, "max_step_tokens": 24},
        "linearize": {"num_wrong": [1, 2], "self_evaluation_samples": 0},
        "rewrite": {"method": "template"},
        "sft": {"learning_rate": 1e-3, "batch_size": 4, "loss_on": "right_path", "max_tokens": 512, "save_every": 2},
        "rl": {
            "num_steps": 8,
            "prompts_per_step": 4,
            "learning_rate": 2e-4,
            "max_tokens": 160,
            "pass_rate_band": [0.0, 1.0],
            "save_every": 2,
        },
        "evaluate": {"num_samples": 3, "majority": 2, "max_tokens": 200},
        "arms": ["base", "astro_sft", "astro_rl"],
    }
    recipe["search"]["max_rollout_tokens"] = 64
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@dataclass
class Attacked:
    """One run in `out`. `begin` starts the command, as often as it was killed or interrupted."""

    recipe_path: Path
    out: Path
    process: subprocess.Popen[bytes] | None = None
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recipe = load_recipe(self.recipe_path)

    @property
    def prefix(self) -> str:
        """Where the run's objects are."""
        return f"runs/{json.loads((self.out / 'run.json').read_text('utf-8'))['run_id']}"

    @property
    def store(self) -> DirectoryStore:
        """The run's store."""
        return DirectoryStore(self.out / "store")

    def begin(self) -> None:
        """`retrograde run RECIPE --out DIR`."""
        command = [sys.executable, "-m", "retrograde.cli", "run", str(self.recipe_path), "--out", str(self.out)]
        with (self.out.parent / "console.log").open("ab") as console:
            self.process = subprocess.Popen(command, stdout=console, stderr=console, start_new_session=True)

    def stages(self) -> dict[str, int]:
        """State by stage; nothing before the run exists."""
        with contextlib.suppress(Exception):
            run = run_pb2.Run.FromString(self.store.get(f"{self.prefix}/run.pb"))
            return {stage.name: stage.state for stage in run.stages}
        return {}

    def reached(self, moment: str) -> bool:
        """Whether a stage runs or is over; for `ARM step N`, whether that optimiser step is done."""
        arm, _, step = moment.partition(" step ")
        if not step:
            return moment in self.stages()
        with contextlib.suppress(Exception):
            return self.store.exists(f"{self.prefix}/jobs/{arm}/steps/{int(step):06d}.json")
        return False

    def pid(self, victim: str) -> int | None:
        """Process id of a service, of the training job, or of the supervisor; None while there is none."""
        if victim == "supervisor":
            return self.process.pid if self.process else None
        if victim == "job":
            return self._job_pid()
        with contextlib.suppress(OSError, ValueError, KeyError):
            state = json.loads((self.out / "supervisor.json").read_text("utf-8"))
            return int(state["services"][victim]["pid"]) or None
        return None

    def _job_pid(self) -> int | None:
        """The training job of this very run: its configuration lies below `out`."""
        jobs = {"services.trainer.job.sft", "services.trainer.job.grpo"}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if jobs & set(words) and any(word.startswith(str(self.out)) for word in words):
                    return int(entry.name)
        return None

    def kill(self, victim: str, number: signal.Signals = signal.SIGKILL, seconds: float = 300.0) -> None:
        """Sends the signal once the victim is there."""
        self.until(lambda: self.pid(victim) is not None, seconds, f"{victim} to kill")
        pid = self.pid(victim)
        assert pid is not None
        os.kill(pid, number)
        self.log.append(f"{victim} {number.name}")

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Waits; fails with the console's end when the run ends or the time is over."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process is not None
            ended = self.process.poll()
            assert ended is None, f"run ended with {ended} while waiting for {what}: {self.console()}"
            assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}: {self.console()}"
            time.sleep(_LOOK_EVERY_SECONDS)

    def wait(self, seconds: float) -> int:
        """The command's exit status."""
        assert self.process is not None
        return self.process.wait(seconds)

    def console(self) -> str:
        """The end of what the command said."""
        return (self.out.parent / "console.log").read_text("utf-8", errors="replace")[-3000:]

    def end(self) -> None:
        """Stops what still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
