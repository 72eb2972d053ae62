"""What Kafka and MinIO run from, on machines that lack a tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from retrograde.cli.servers import obtain
from retrograde.runtime.errors import NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one folder, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    """An executable `name` that does what the script says."""
    (folder / name).write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("make", "named"), [(obtain.obtain_kafka, "java and mvn"), (obtain.obtain_minio, "go"), (obtain.kafka_libs, "java")]
)
@pytest.mark.usefixtures("tools")
def test_a_missing_tool_is_named(make: Callable[..., object], named: str) -> None:
    """Without a JDK, Maven or Go the error names what to install."""
    arguments = [] if make is obtain.kafka_libs else [print]
    with pytest.raises(NotFoundError, match=f"needs {named}"):
        make(*arguments)


def test_what_is_made_lies_whole_in_the_cache(tools: Path) -> None:
    """Go's binary is moved to a name with its version, once; nothing half-made stays beside it."""
    program(tools, "go", 'echo "$2" > "$GOBIN/minio"')
    said: list[str] = []
    made = obtain.obtain_minio(said.append)
    assert made.read_text() == f"github.com/minio/minio@{obtain.MINIO_VERSION}\n"
    assert obtain.obtain_minio(said.append) == obtain.minio_binary() == made
    assert (len(said), [path.name for path in made.parent.iterdir()]) == (1, [made.name])


def test_a_failed_download_leaves_nothing(tools: Path) -> None:
    """When Maven fails its words are in the error, and the next attempt begins anew."""
    program(tools, "java", "exit 0")
    program(tools, "mvn", "echo no route to host; exit 1")
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"mvn .* ended with status 1: no route to host"):
            obtain.obtain_kafka(print)
    assert list(obtain.cache_folder().rglob("*.jar")) == []
