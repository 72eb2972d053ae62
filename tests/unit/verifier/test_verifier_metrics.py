"""Labels stay few, whatever tasks write into their grades."""

from __future__ import annotations

import pytest

from services.verifier import metrics


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_paths", set())


@pytest.mark.parametrize(
    ("path", "label"), [("rational", "rational"), ("", "none"), ("x" * 41, "other"), ("a\nb", "other"), ("7", "other")]
)
def test_a_path_as_a_label(path: str, label: str) -> None:
    """A name is its own label; what is no name is not let into the metrics."""
    assert metrics.path_label(path) == label


def test_there_are_forty_paths_at_most() -> None:
    """Further ones are counted together; those known keep their label."""
    labels = [metrics.path_label(f"path {n}") for n in range(100)]
    assert labels == [f"path {n}" for n in range(40)] + ["other"] * 60
    assert metrics.path_label("path 0") == "path 0"
