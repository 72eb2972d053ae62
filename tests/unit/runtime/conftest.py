"""Logging starts as in a new process and is left as it was found."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging_of_its_own() -> Iterator[None]:
    root, requests = logging.getLogger(), logging.getLogger("urllib3")
    handlers, levels = list(root.handlers), (root.level, requests.level)
    requests.setLevel(logging.NOTSET)  # the kubernetes package raises it for the whole process
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    requests.setLevel(levels[1])
