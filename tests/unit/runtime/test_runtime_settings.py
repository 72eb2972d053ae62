"""Settings are read whole or refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from retrograde.runtime.settings import Addresses, ServiceSettings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


class Clock(BaseModel):
    """A part of the settings."""

    model_config = ConfigDict(extra="forbid")

    minutes: int = 0


class OvenSettings(ServiceSettings):
    """The oven service."""

    degrees: float = Field(ge=0, le=300, description="How hot, in degrees Celsius.")
    clock: Clock = Clock()


def refused(path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line printed for a file holding `text`, without its `error: FILE: `."""
    path.write_text(text)
    with pytest.raises(SystemExit) as left:
        load_settings(OvenSettings, ["--config", str(path)])
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {path}: ")
    return lines[0].removeprefix(f"error: {path}: ")


def test_a_file_is_read_with_defaults(tmp_path: Path) -> None:
    """What the file leaves out has its default."""
    path = tmp_path / "oven.yaml"
    path.write_text("listen: 0.0.0.0:50051\ndegrees: 180\n")
    settings = load_settings(OvenSettings, ["--config", str(path)])
    assert settings == OvenSettings(listen="0.0.0.0:50051", degrees=180.0)
    assert (settings.metrics_port, settings.drain_seconds) == (0, 30.0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("degres: 1", "degrees: required; add it; degres: unknown key; did you mean 'degrees'?"),
        ("degrees: 1\nzzz: 1", "zzz: unknown key; delete it (--help lists the keys)"),
        ("", "degrees: required; add it"),
        ("degrees: 1\nclock: {minute: 1}", "clock.minute: unknown key; did you mean 'minutes'?"),
        ("degrees: 1\nclock: {listen: 1}", "clock.listen: unknown key; delete it (--help lists the keys)"),
        ("degrees: 1\nclock: noon", "clock must be a mapping of keys to values, not 'noon'"),
        ("degrees: hot", "degrees: 'hot': Input should be a valid number, unable to parse string as a number"),
        ("degrees: 301", "degrees: 301: Input should be less than or equal to 300"),
        (
            "degrees: 1\nlisten: localhost",
            "listen: 'localhost': write host:port, for example 127.0.0.1:50051 (port 0 picks a free one)",
        ),
        (
            "degrees: 1\nlisten: a:70000",
            "listen: 'a:70000': write host:port, for example 127.0.0.1:50051 (port 0 picks a free one)",
        ),
        ("- degrees", "the document must be a mapping of keys to values, not ['degrees']"),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    """Unknown, missing and ill-typed keys are named with path, value and fix, on one line, status 2."""
    assert refused(tmp_path / "oven.yaml", text, capsys) == line


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("degrees: [1", "line 1"),
        ("degrees: 1\ndegrees: 2", "key 'degrees' is given twice"),
        ("degrees: 1\n\tlisten: x", "line 2"),
        ("degrees: !!python/object/apply:os.getpid []", "python/object"),
    ],
)
def test_yaml_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, part: str) -> None:
    """Broken YAML, a key given twice and a tag that would run code are refused with their place."""
    line = refused(tmp_path / "oven.yaml", text, capsys)
    assert part in line
    assert line.endswith("correct the YAML there")


def test_a_file_that_is_not_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no UTF-8 are refused with their position."""
    path = tmp_path / "oven.yaml"
    path.write_bytes(b"degrees: \xff")
    with pytest.raises(SystemExit) as left:
        load_settings(OvenSettings, ["--config", str(path)])
    assert left.value.code == 2
    assert "byte 9 is not UTF-8" in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is named, with what to do."""
    path = tmp_path / "none.yaml"
    with pytest.raises(SystemExit) as left:
        load_settings(OvenSettings, ["--config", str(path)])
    assert left.value.code == 2
    expected = f"error: {path}: No such file or directory; pass --config with a YAML file that can be read\n"
    assert capsys.readouterr().err == expected


def test_help_lists_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """--help says each key's meaning and default."""
    with pytest.raises(SystemExit) as left:
        load_settings(OvenSettings, ["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "The oven service." in text
    assert "degrees: How hot, in degrees Celsius. (required)" in text
    assert "(default 30.0)" in text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("a:1, b:2", "a:1,b:2"),
        (["a:1", "[::1]:2"], "a:1,[::1]:2"),
        ("dns:///pool.apps:50051", "dns:///pool.apps:50051"),
    ],
)
def test_replicas_are_one_address_or_several(written: object, read: str) -> None:
    """One, several with commas, a list, or a name that stands for many."""
    assert TypeAdapter(Addresses).validate_python(written) == read


@pytest.mark.parametrize(
    ("written", "fix"),
    [
        ("a:1,b", "write host:port"),
        ("", "write host:port"),
        ([], "write host:port"),
        ("dns:///pool", "write host:port"),
        ("a:1,a:1", "name each replica once"),
    ],
)
def test_replicas_that_are_none_are_refused(written: object, fix: str) -> None:
    """Each part is checked, and none may be there twice."""
    with pytest.raises(ValidationError, match=fix):
        TypeAdapter(Addresses).validate_python(written)
