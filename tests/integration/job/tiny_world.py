"""A world small enough to train in seconds: a random two-layer Llama, a tokenizer of letters, a dataset, a store."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore

LETTERS = "abcdefgh"
WORDS = ["<eos>", ":", *LETTERS]
ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 600.0


@dataclass(frozen=True)
class World:
    """One store and one scratch folder."""

    folder: Path

    @property
    def store(self) -> ObjectStore:
        """Opened anew."""
        return open_store(f"file://{self.folder}/store")

    def settings(self, name: str, **more: object) -> dict[str, object]:
        """Of a job called `name`."""
        return {
            "store": f"file://{self.folder}/store",
            "init_checkpoint": "init",
            "output_key": f"{name}/out",
            "job_key": f"{name}/job",
            "work_dir": str(self.folder / name),
            "seed": 5,
            "engine": {"device": "cpu"},
        } | more

    def start(self, module: str, settings: Mapping[str, object], num_processes: int = 0) -> subprocess.Popen[bytes]:
        """The module or script as a child process (0: plain python) in a session of its own; logs beside the store."""
        name = str(settings["job_key"]).replace("/", "-")
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
        target = [module] if module.endswith(".py") else ["-m", module]
        command = [sys.executable, *(launcher if num_processes else []), *target, "--config", str(config)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'libs'}{os.pathsep}{ROOT}"}
        with self.log(name).open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)

    def log(self, name: str) -> Path:
        """What the job called `name` said."""
        return self.folder / f"{name}.log"

    def run(self, module: str, settings: Mapping[str, object], num_processes: int = 0) -> int:
        """Starts the job and waits for it; returns its status."""
        job = self.start(module, settings, num_processes)
        try:
            return job.wait(DEADLINE_SECONDS)
        finally:
            kill(job)

    def steps(self, name: str) -> list[dict[str, float]]:
        """The metrics the job left."""
        return [json.loads(self.store.get(key)) for key in self.store.list(f"{name}/job/steps/")]

    def weights(self, name: str) -> bytes:
        """The finished checkpoint's weights, as they lie in the store."""
        return self.store.get(f"{name}/out/model.safetensors")


def kill(job: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the job and all it started."""
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def wait_until(condition: Callable[[], bool], job: subprocess.Popen[bytes]) -> None:
    """Looks until `condition` holds; fails when the job ends or the deadline passes before."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert job.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline, "the condition never came"
        time.sleep(0.01)


def build_world(folder: Path) -> World:
    """A checkpoint under `init` and a dataset `data.jsonl` of doubled letters, in a new store."""
    world = World(folder)
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(WORDS)}, merges=[]))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=WORDS[0]).save_pretrained(folder / "init")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=64, eos_token_id=0, **shape)
    LlamaForCausalLM(config).save_pretrained(folder / "init")
    world.store.upload("init", folder / "init")
    world.store.put("data.jsonl", "\n".join(json.dumps(row) for row in rows(120)).encode())
    return world


def rows(count: int) -> list[dict[str, object]]:
    """Letters asked for, and each of them twice."""
    rng = random.Random(1)
    asked = ["".join(rng.choices(LETTERS, k=rng.randint(1, 12))) for _ in range(count)]
    return [
        {"id": str(i), "prompt": f"{letters}:", "completion": "".join(2 * letter for letter in letters), "chat": False}
        for i, letters in enumerate(asked)
    ]
