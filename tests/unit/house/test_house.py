"""The habits of this repository: formatted, linted, typed, layered, generated code fresh, nothing out of size."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
FORBIDDEN = re.compile(r"pypi[.]org|python[h]osted|npmjs[.](?:org|com)|proxy[.]golang|repo\d*[.]maven|deb[.]debian")


def run(*command: str | Path) -> str:
    """Runs a tool in the repository; its output is the failure's message."""
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def buf() -> Path:
    """The buf binary; where it is missing the tier is skipped on a laptop and fails in CI."""
    found = os.environ.get("RETROGRADE_BUF") or shutil.which("buf")
    if found and Path(found).exists():
        return Path(found)
    message = "buf is missing: install npm, then `make setup`"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def test_ruff() -> None:
    """Every file passes the linter and is formatted."""
    run(BIN / "ruff", "check", ".")
    run(BIN / "ruff", "format", "--check", ".")


def test_mypy_strict() -> None:
    """Libraries, services and examples are typed strictly."""
    run(BIN / "mypy", "libs", "services", "examples")


def test_layers() -> None:
    """No package imports what its layer forbids."""
    run(BIN / "lint-imports")


def test_protos_lint_and_do_not_break(buf: Path) -> None:
    """The protos keep the style, and no message of the released set was broken."""
    run(buf, "lint", "protos")
    run(buf, "breaking", "protos", "--against", "protos/released.binpb")


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    """The committed code is what the protos generate."""
    run(sys.executable, "tools/protos.py", str(tmp_path))
    committed = ROOT / "libs/retrograde/v1"
    generated = {path.name: path.read_bytes() for path in (tmp_path / "retrograde/v1").iterdir()}
    ours = {path.name: path.read_bytes() for path in committed.iterdir() if "_pb2" in path.name}
    assert generated == ours


def test_sizes_within_budget() -> None:
    """Functions and files stay small."""
    run(sys.executable, "tools/size.py")


def test_no_registry_host_is_named() -> None:
    """No file names a package registry's host: a mirror must work unchanged."""
    tracked = run("git", "ls-files").splitlines()
    named = []
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".safetensors", ".binpb", ".png"} or not path.is_file():
            continue
        named += [name] if FORBIDDEN.search(path.read_text(encoding="utf-8", errors="replace")) else []
    assert named == []
