"""Examples, run as they stand, on a real rollouts service behind which everything is scripted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from interop_packages import DEADLINE_SECONDS, ROOT, packages_folder, path_with
from scripted_services import Inference, serving
from tiny_world_of_interop import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM

from retrograde.cli.topology import free_ports
from retrograde.interop.rollouts import Rollouts
from retrograde.runtime.adapters import open_store
from retrograde.runtime.lifeline import die_with_parent
from retrograde.tasks.task import load_task
from services.trainer.stages.stage import problems_to_bytes

NUM_PROMPTS = 8

pytestmark = pytest.mark.engine


@dataclass
class Service:
    """A rollouts service over a folder with a store, and the engine it asks."""

    folder: Path
    address: str
    inference: Inference

    @property
    def store(self) -> str:
        return f"file://{self.folder}/store"

    def num_acknowledged(self, feed: str, consumer: str, group_size: int, **settings: object) -> int:
        """What the feed counts as used."""
        with Rollouts(self.address, feed, consumer=consumer) as rollouts:
            return rollouts.open("prompts.jsonl", group_size=group_size, **settings).num_acknowledged


def run_rollouts(folder: Path, engine: str) -> tuple[str, subprocess.Popen[bytes]]:
    """A rollouts service: its address and its process."""
    (port,) = free_ports(1)
    config = folder / "rollouts.yaml"
    settings = {"listen": f"127.0.0.1:{port}", "store": f"file://{folder}/store", "inference": engine}
    config.write_text(yaml.safe_dump(settings | {"verifier": engine}))
    command = [sys.executable, "-m", "services.rollouts", "--config", config]
    with (folder / "rollouts.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=path_with(),
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock
        )
    return f"127.0.0.1:{port}", process


def make_model(folder: Path) -> None:
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def run(program: str, *arguments: str | Path, folder: Path, packages: Path | None = None) -> None:
    """Runs an example in `folder`; its output is the failure's message."""
    result = subprocess.run(
        [sys.executable, ROOT / "examples" / program, *arguments],
        env=path_with(packages) if packages else path_with(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]


@pytest.fixture(scope="module", name="service")
def service_behind_examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("examples")
    problems = load_task("countdown").problems({"num_numbers": 3, "count": NUM_PROMPTS}, "rl", seed=4)
    open_store(f"file://{folder}/store").put("prompts.jsonl", problems_to_bytes(problems))
    inference = Inference()
    with serving(inference) as engine:
        address, process = run_rollouts(folder, engine)
        try:
            yield Service(folder, address, inference)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module", name="trained")
def trained_by_trl(service: Service) -> dict[str, dict[str, torch.Tensor]]:
    """The weights before the two steps, between them as they were published, and after."""
    model, out, policy = (service.folder / name for name in ("model", "out", "policy"))
    make_model(model)
    run("trl_grpo.py", model, service.address, service.store, "prompts.jsonl", out, folder=service.folder)
    open_store(service.store).download(service.inference.loaded[0], policy)
    return {path.name: dict(AutoModelForCausalLM.from_pretrained(path).state_dict()) for path in (model, policy, out)}


@pytest.mark.usefixtures("trained")
def test_trl_acknowledges_every_group(service: Service) -> None:
    """Two steps of two groups: the feed counts four as used."""
    assert service.num_acknowledged("trl/feed", "trl-0", 4, max_tokens=64) == 4


@pytest.mark.usefixtures("trained")
def test_the_pool_is_given_trls_weights_between_the_steps(service: Service) -> None:
    """Those after the first step, under its number."""
    assert service.inference.loaded == ["trl/policies/000001"]


def test_each_of_trls_steps_learns_from_the_rewards(trained: dict[str, dict[str, torch.Tensor]]) -> None:
    """Without rewards that differ GRPO has no gradient: both steps changed the weights."""
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert not torch.equal(trained["model"][name], trained["policy"][name])
        assert not torch.equal(trained["policy"][name], trained["out"][name])


def test_verifiers_episodes_are_written_and_their_groups_acknowledged(service: Service) -> None:
    """Each line is one sample of a group, with its tokens; a sample without a verdict is on none."""
    target = service.folder / "episodes.jsonl"
    packages = packages_folder()
    run(
        "verifiers_episodes.py",
        service.address,
        "prompts.jsonl",
        "2",
        target,
        folder=service.folder,
        packages=packages,
    )
    episodes = [json.loads(line) for line in target.read_text().splitlines()]
    assert len({episode["group"]["id"] for episode in episodes}) == 2
    rewards = [episode["traces"][0]["rewards"]["verdict"]["score"] for episode in episodes]
    assert sorted(rewards) == [-1.0] * 6 + [1.0] * 8
    assert service.num_acknowledged("verifiers/feed", "verifiers", 8) == 2
