"""The loop on a real Kafka and a real MinIO, each service in its own process: `retrograde run --broker --store`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrograde.cli.backends import opened_store
from retrograde.cli.servers.obtain import kafka_libs, minio_binary
from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore
from tests.servers import need

pytestmark = [pytest.mark.engine, pytest.mark.kafka, pytest.mark.minio, pytest.mark.timeout(900)]

RECIPE = Path(__file__).parent / "on_servers.yaml"
DATA_SETS = ("datasets/direct.jsonl", "datasets/astro.jsonl")


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "retrograde.cli", "run", str(RECIPE), "--out", str(out), *options]


def run(out: Path, *options: str) -> Path:
    result = subprocess.run(command(out, *options), capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def run_until(out: Path, store: ObjectStore, keys: list[str]) -> None:
    """Interrupts the run once it has stored these: what it would go on to do is not asked about."""
    console = out.with_name("console.log")
    with console.open("wb") as said, subprocess.Popen(command(out), stdout=said, stderr=said) as process:
        try:
            end = time.monotonic() + 600
            while not all(store.exists(key) for key in keys):
                assert process.poll() is None, console.read_text()
                assert time.monotonic() < end, console.read_text()
                time.sleep(0.2)
        finally:
            process.send_signal(signal.SIGINT)


def prefix_of(out: Path) -> str:
    return "runs/" + json.loads((out / "run.json").read_text())["run_id"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished run."""
    need(kafka_libs)
    need(minio_binary)
    return run(tmp_path_factory.mktemp("servers") / "out", "--broker", "kafka", "--store", "minio")


def test_the_report_is_the_same_contract(out: Path) -> None:
    """Every arm has its scores, and every problem its tree."""
    report = json.loads((out / "report.json").read_text())
    assert set(report["arms"]) == {"base", "astro_sft"}
    assert (report["search"]["problems"], report["search"]["trees"]) == (48, 48)
    assert report["solutions"]["search"] > 0


def test_the_messages_went_over_kafka_and_the_objects_to_minio(out: Path) -> None:
    """Nothing fell back to the files of the embedded adapters."""
    assert not (out / "broker.db").exists()
    assert not (out / "store").exists()
    assert any((out / "servers/kafka/data").glob("retrograde.problems.v1-*"))
    with opened_store(out) as store:
        assert len([key for key in store.list(f"{prefix_of(out)}/trees/") if key.endswith(".pb")]) == 48


def test_the_embedded_run_makes_the_same_data_set_of_the_same_trees(out: Path, tmp_path: Path) -> None:
    """Given the stored trees, the embedded adapters lead to training sets that are equal byte for byte."""
    prefix, embedded = prefix_of(out), tmp_path / "out"
    with opened_store(out) as servers:
        files = open_store(f"file://{embedded / 'store'}")
        for key in servers.list(f"{prefix}/trees/"):
            files.put(key, servers.get(key))
        run_until(embedded, files, [f"{prefix}/{name}" for name in DATA_SETS])
        for name in DATA_SETS:
            assert files.get(f"{prefix}/{name}") == servers.get(f"{prefix}/{name}")
