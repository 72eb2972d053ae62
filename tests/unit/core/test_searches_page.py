"""docs/searches.md: every block it shows is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from sums_task import PROBLEM, SUMS

from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree

PAGE = Path(__file__).parents[3] / "docs" / "searches.md"
BLOCKS = re.findall(r"`(\{[^`]+\})`", PAGE.read_text(encoding="utf-8"))


def test_the_page_shows_ten_searches() -> None:
    """The table has ten rows."""
    assert len(BLOCKS) == 10


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_makes_a_search(block: str) -> None:
    """A block is read as it stands, and its search has something to ask."""
    settings = SearchSettings.model_validate(yaml.safe_load(block))
    assert not make_search(SearchTree(PROBLEM), SUMS, settings).done
