"""A URL chooses an adapter, or is refused with what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters import open_broker, open_store
from retrograde.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("url", ["nats://broker:4222", "amqp://x", "", "/srv/x.db"])
def test_an_unknown_broker_is_refused(url: str) -> None:
    """A scheme this build has no adapter for is named, with what it offers."""
    with pytest.raises(InvalidInputError, match=r"this build offers sqlite.*write sqlite:///") as refused:
        open_broker(url)
    assert repr(url) in str(refused.value)


@pytest.mark.parametrize("url", ["gs://bucket/x", "http://x", "", "store"])
def test_an_unknown_store_is_refused(url: str) -> None:
    """A scheme this build has no adapter for is named, with what it offers."""
    with pytest.raises(InvalidInputError, match="file and s3 for stores: write file:///") as refused:
        open_store(url)
    assert repr(url) in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite://relative/b.db"])
def test_a_broker_needs_an_absolute_path(url: str) -> None:
    """A relative path would mean another file in another working directory."""
    with pytest.raises(InvalidInputError, match=r"no absolute path; write sqlite:///ABSOLUTE/PATH\.db"):
        open_broker(url)


def test_a_store_needs_an_absolute_path() -> None:
    """A relative path would mean another directory in another working directory."""
    with pytest.raises(InvalidInputError, match="no absolute path; write file:///ABSOLUTE/DIRECTORY"):
        open_store("file://store")


@pytest.mark.parametrize("query", ["session=3", "session_seconds=x", "session_seconds=0", "session_seconds=nan", ""])
def test_a_broker_has_one_parameter(tmp_path: Path, query: str) -> None:
    """Anything but session_seconds with a positive number is refused."""
    with pytest.raises(InvalidInputError, match="session_seconds=6"):
        open_broker(f"sqlite://{tmp_path}/b.db?{query}")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """A broker's and a store's folders need not exist."""
    broker = open_broker(f"sqlite://{tmp_path}/deep/er/b.db")
    broker.create_topic("t", 1)
    broker.close()
    store = open_store(f"file://{tmp_path}/deep/store with space")
    store.put("k", b"1")
    assert (tmp_path / "deep" / "store with space" / "k").read_bytes() == b"1"
