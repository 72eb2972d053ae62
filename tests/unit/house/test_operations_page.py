"""docs/operations.md says what to do for what is alerted, and nothing about what is not."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]


def test_every_alert_has_a_row() -> None:
    """The table of alerts names those of the chart, each once and in their order; what is rendered comes last."""
    rules = yaml.safe_load((ROOT / "charts/retrograde/monitoring/alerts.yaml").read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    template = ROOT / "charts/retrograde/templates/monitoring/_missing.tpl"
    alerts += re.findall(r"^- alert: (\w+)$", template.read_text(encoding="utf-8"), re.MULTILINE)
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (Retrograde\w+) \|", page, re.MULTILINE) == alerts


def test_commands_of_the_page_exist() -> None:
    """Every target of make that the page names is in the Makefile."""
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(
        r"(?:`|^)make ([a-z][a-z0-9-]*)", (ROOT / "docs/operations.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert named
    assert set(named) <= set(targets)
