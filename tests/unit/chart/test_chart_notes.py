"""What Helm says after an installation: a template in a copy of the chart, since only a cluster is told notes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from chart_render import ALL_ON, CHART, read, rendered

from tests.servers import need
from tools.chart_tools import tool


def notes(folder: Path, values: dict[str, Any]) -> str:
    """Those under `values`."""
    copy = shutil.copytree(CHART, folder / "chart")
    text = (CHART / "templates/NOTES.txt").read_text(encoding="utf-8")
    (copy / "templates/NOTES.txt").unlink()
    template = (
        f'{{{{- define "notes" }}}}{text}{{{{ end -}}}}\nkind: Notes\ntext: {{{{ include "notes" . | toJson }}}}\n'
    )
    (copy / "templates/notes.yaml").write_text(template, encoding="utf-8")
    need(lambda: tool("helm"))
    command = [
        str(tool("helm")),
        "template",
        "r",
        str(copy),
        "--namespace",
        "n",
        "-s",
        "templates/notes.yaml",
        "-f",
        "-",
    ]
    result = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True, timeout=120)
    return str(read(result.stdout)["text"])


@pytest.mark.parametrize("values", [{}, ALL_ON], ids=["defaults", "everything"])
def test_notes_name_what_there_is(values: dict[str, Any], tmp_path: Path) -> None:
    """Services and the Secret of the caller's certificate are ones that the chart makes, or has made."""
    chart, said = rendered(**values), notes(tmp_path, values)
    services = set(re.findall(r"service/(\S+)|the Service (\S+)", said))
    named = {first or second for first, second in services}
    assert named >= {"r-trainer"}
    assert named <= {each["metadata"]["name"] for each in chart.of("Service")}
    secrets = set(re.findall(r"get secret (\S+)", said))
    assert secrets == {each["spec"]["secretName"] for each in chart.of("Certificate", "test")}


@pytest.mark.parametrize("part", ["test", "search"])
def test_notes_name_no_certificate_that_nobody_made(part: str, tmp_path: Path) -> None:
    """Without `helm test` the chart has no certificate for people: they are told to make one."""
    said = notes(tmp_path, ALL_ON | {part: {"enabled": False}})
    assert "--authority ca.crt" in said
    assert "cli.retrograde to it: make a certificate" in said
    assert "get secret" not in said


def test_notes_leave_out_what_is_off(tmp_path: Path) -> None:
    """Without a trainer nothing is submitted, and without a test nobody is told to run one."""
    said = notes(tmp_path, {"trainer": {"enabled": False}, "test": {"enabled": False}})
    assert "retrograde submit" not in said
    assert "helm -n n test" not in said
