"""GRPO as real processes under attack: trainer with its job, rollouts, inference, and who restarts them.

The run has done all before `rl astro`. A dozen-token model is really sampled from and really trained; what is drawn
depends on weights and prompt alone, so that two runs whose every step had the right groups of the right weights end
with the same bits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from retrograde.cli.topology import free_ports
from retrograde.core.problem import Cost
from retrograde.recipe.recipe import parse_recipe
from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2
from services.rollouts.ledger import Ledger
from services.rollouts.tickets import Ticket, Tickets
from services.trainer.runs import RunRecord, load_run
from services.trainer.stages.plan import plan
from services.trainer.stages.stage import problems_to_bytes
from tests.chaos.crew import Service, scripted_engine
from tests.chaos.letters import TASK

RUN_ID, STAGE, ARM = "r", "rl astro", "astro_rl"
PREFIX = f"runs/{RUN_ID}"
VICTIMS = ("trainer", "job", "rollouts", "inference")
PROMPTS_PER_STEP = 4
PATIENCE_SECONDS = 600.0
_LATEST_SECONDS = 1.0
_LAST_STEPS = 10  # time for the last victim to be there
_LOOK_EVERY_SECONDS = 0.05
_JOB = "services.trainer.job.grpo"
_PASSING = ("logged_at_seconds", "seconds", "policy_version")  # what of a step another life may tell otherwise


class Kill(NamedTuple):
    """-9 to `victim`, so long after step number `step` was first done."""

    step: int
    seconds: float
    victim: str


def drawn(count: int, num_steps: int, seed: int) -> list[Kill]:
    """Drawn by the seed, in order; each victim as often as any other, but for what does not divide."""
    rng = random.Random(seed)
    victims = [VICTIMS[i % len(VICTIMS)] for i in range(count)]
    rng.shuffle(victims)
    steps = sorted(rng.randrange(num_steps - _LAST_STEPS) for _ in range(count))
    return [Kill(step, rng.uniform(0.0, _LATEST_SECONDS), victim) for step, victim in zip(steps, victims, strict=True)]


class Siege:
    """One run, whose services are at work while it is entered."""

    def __init__(self, folder: Path, checkpoint: Path, num_steps: int, num_prompts: int) -> None:
        self.folder = folder
        folder.mkdir()
        self.num_steps = num_steps
        self.num_prompts = num_prompts
        self.killed: list[Kill] = []
        url = f"file://{folder}/store"
        self.store: ObjectStore = open_store(url)
        asyncio.run(_prepare(self.store, checkpoint, num_steps, num_prompts))
        self._shared = {"store": url, "broker": f"sqlite://{folder}/broker.db"}
        self._checkpoint = checkpoint
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        verifier = self._stack.enter_context(scripted_engine(self.folder, 0.0))
        names = ("inference", "rollouts", "trainer")
        at = {name: f"127.0.0.1:{port}" for name, port in zip(names, free_ports(3), strict=True)}
        pool = {"inference": at["inference"], "verifier": verifier}
        own: dict[str, dict[str, Any]] = {
            "inference": {"checkpoint": str(self._checkpoint), "cache": str(self.folder / "cache")},
            "rollouts": pool,
            "trainer": pool | {"rollouts": at["rollouts"], "work_dir": str(self.folder / "jobs"), "job_attempts": 99},
        }
        self.services = {name: self._service(name, at[name], own[name]) for name in names}
        for service in self.services.values():
            service.start(self._log(service.name))
            self._stack.callback(service.end)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def endure(self, kills: Sequence[Kill]) -> None:
        """Until the stage is done, after all of these."""
        for kill in kills:
            self.until(lambda kill=kill: self.num_done() >= kill.step, f"step {kill.step}")  # type: ignore[misc]
            time.sleep(kill.seconds)
            self.until(lambda kill=kill: self.kill(kill.victim), f"{kill.victim} to kill")  # type: ignore[misc]
            self.killed.append(kill)
        self.until(self._is_over, "the end of the stage")

    def kill(self, victim: str) -> bool:
        """Whether it was there to be killed, and is dead now."""
        if victim == "job":
            return self._kill_job()
        process = self.services[victim].process
        assert process is not None
        process.kill()
        process.wait()
        self.services[victim].trap = "killed"
        return True

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Starts again who was killed, until it is so."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, f"waited for {what}; {self.num_done()} steps, killed {self.killed}"
            for service in self.services.values():
                self._revive(service)
            time.sleep(_LOOK_EVERY_SECONDS)

    def num_done(self) -> int:
        """Steps that are told."""
        return len(list(self.store.list(f"{PREFIX}/jobs/{ARM}/steps/")))

    @property
    def weights(self) -> bytes:
        """Those it ended with."""
        return self.store.get(f"{PREFIX}/checkpoints/{ARM}/model.safetensors")

    @property
    def curve(self) -> list[dict[str, float]]:
        """What each step told, in order, but for times and for how often weights were published."""
        told = [json.loads(self.store.get(key)) for key in self.store.list(f"{PREFIX}/jobs/{ARM}/steps/")]
        return [{name: step[name] for name in step if not name.endswith(_PASSING)} for step in told]

    @property
    def used(self) -> set[Ticket]:
        """Prompts of epochs that the feed's ledger counts as used."""
        return self._tickets().used

    @property
    def num_acknowledged(self) -> int:
        """Groups, by the feed's ledger."""
        return self._tickets().num_acknowledged

    def _tickets(self) -> Tickets:
        ledger = Ledger(self.store, f"{PREFIX}/feeds/{ARM}", Tickets(self.num_prompts))
        ledger.replay()
        return ledger.tickets

    def _is_over(self) -> bool:
        run = load_run(self.store, RUN_ID)
        assert run.state != run_pb2.RUN_STATE_FAILED, run.error
        return any((stage.name, stage.state) == (STAGE, run_pb2.RUN_STATE_SUCCEEDED) for stage in run.stages)

    def _kill_job(self) -> bool:
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if _JOB in words and any(word.startswith(str(self.folder)) for word in words):
                    os.kill(int(entry.name), signal.SIGKILL)
                    return True
        return False

    def _revive(self, service: Service) -> None:
        assert service.process is not None
        status = service.process.poll()
        if status is not None:
            log = self._log(service.name)
            assert (status, service.trap) == (-signal.SIGKILL, "killed"), log.read_text(errors="replace")[-3000:]
            service.start(log)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _service(self, name: str, listen: str, own: dict[str, Any]) -> Service:
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(self._shared | own | {"listen": listen}))
        return Service(name, config, module="tests.chaos.tiny_inference" if name == "inference" else "")


async def _prepare(store: ObjectStore, checkpoint: Path, num_steps: int, num_prompts: int) -> None:
    """The run as it is when all before the stage is done."""
    store.upload(f"{PREFIX}/checkpoints/astro_sft", checkpoint)
    problems = TASK.problems({"count": num_prompts}, "rl", seed=1)
    store.put(f"{PREFIX}/problems/rl_band.jsonl", problems_to_bytes(problems))
    text = _recipe(num_steps)
    recipe = parse_recipe(text)
    names = [stage.name for stage in plan(recipe)]
    record = RunRecord(store, run_pb2.Run(id=RUN_ID))
    await record.create(run_pb2.RunCreated(recipe_hash=recipe.hash, recipe_yaml=text, plan=names), "test")
    for name in names[: names.index(STAGE)]:
        await record.finish(await record.begin(name, ""), Cost())


def _recipe(num_steps: int) -> str:
    rl = {
        "num_steps": num_steps,
        "prompts_per_step": PROMPTS_PER_STEP,
        "group_size": 4,
        "learning_rate": 0.002,
        "max_tokens": 8,
        "save_every": 5,
    }
    told = {
        "name": "siege",
        "seed": 5,
        "task": TASK.name,
        "policy": {"checkpoint": "in-the-store"},
        "problems": {"search": {}, "rl": {}, "evaluate": {}},
        "engine": {"device": "cpu"},
        "rl": rl,
        "arms": [ARM],
    }
    return yaml.safe_dump(told)
