"""Where the programs of the tests' cluster lie: a folder made from something else is never taken for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.cluster.obtain import KWOK, Say


def made(folder: Path, _: Say) -> Path:
    """Programs, of whatever version."""
    (folder / "bin").mkdir()
    return folder / "bin"


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_another_version_has_another_folder(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a module asks for another version its part is made again, and the one before is not touched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = tmp_path / "kwok"
    module.mkdir()
    (module / file).write_text("v0.8.0")
    part = replace(KWOK, tools=(), make=made, modules=(module,))
    before = part.obtain(lambda _: None)
    assert part.folder() == before
    (module / file).write_text("v0.9.0")
    assert part.obtain(lambda _: None) != before
    assert before.exists()


def test_what_is_no_source_changes_nothing(tmp_path: Path) -> None:
    """KWOK reads its stages when it is started: they are no part of its program."""
    (tmp_path / "go.mod").write_text("v0.8.0")
    part = replace(KWOK, modules=(tmp_path,))
    before = part.place
    (tmp_path / "stages.yaml").write_text("stages: []")
    assert part.place == before
