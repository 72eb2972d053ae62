"""Which broker and which store a folder uses, and how a wrong wish is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from retrograde.cli.backends import Backends, Choice, running_backends
from retrograde.runtime.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path


def test_without_a_wish_everything_lies_in_the_folder(tmp_path: Path) -> None:
    """The default needs no server."""
    with running_backends(tmp_path, Choice.make(tmp_path, None, None)) as backends:
        assert backends == Backends(f"sqlite://{tmp_path}/broker.db", f"file://{tmp_path}/store")


def test_a_choice_is_remembered(tmp_path: Path) -> None:
    """A later command on the folder, which names nothing, finds what the first one chose."""
    chosen = Choice.make(tmp_path, "kafka", "minio")
    assert Choice.of(tmp_path) == Choice.make(tmp_path, None, None) == chosen == Choice("kafka", "minio")


def test_a_url_is_used_as_it_is(tmp_path: Path) -> None:
    """Servers that run elsewhere are neither started nor stopped."""
    url = f"file://{tmp_path}/elsewhere"
    with running_backends(tmp_path, Choice.make(tmp_path, None, url)) as backends:
        assert backends.store == url


def test_a_folder_keeps_its_backends(tmp_path: Path) -> None:
    """Another wish for a folder in use is refused, with what it uses."""
    Choice.make(tmp_path, None, "minio")
    with pytest.raises(ConflictError, match=r"--store directory: .* uses minio"):
        Choice.make(tmp_path, None, "directory")


def test_a_folder_from_before_there_was_a_choice_is_embedded(tmp_path: Path) -> None:
    """A store in the folder says that its objects live there."""
    (tmp_path / "store").mkdir()
    with pytest.raises(ConflictError, match=r"--broker kafka: .* uses sqlite"):
        Choice.make(tmp_path, "kafka", None)


@pytest.mark.parametrize(("broker", "store"), [("rabbit", None), (None, "s3")])
def test_an_unknown_name_is_refused(tmp_path: Path, broker: str | None, store: str | None) -> None:
    """What is neither a name nor a URL is answered with the names."""
    with pytest.raises(InvalidInputError, match=r"--(broker rabbit: write sqlite|store s3: write directory) or"):
        Choice.make(tmp_path, broker, store)


def test_a_damaged_choice_says_what_to_do(tmp_path: Path) -> None:
    """A file that is no choice is named, with the way out."""
    (tmp_path / "backends.json").write_text("{")
    with pytest.raises(InvalidInputError, match=r"backends\.json: .* delete it"):
        Choice.of(tmp_path)
