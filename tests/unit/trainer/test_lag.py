"""The trainer tells how much work waits, whether or not there is a worker."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

from retrograde.runtime.adapters import open_broker
from retrograde.wire.topics import PROBLEMS_TOPIC, REWRITER_GROUP, SEARCH_GROUP, TREES_TOPIC
from tests.unit.security.started import SECONDS, started

NOWHERE = "127.0.0.1:9"


def lags(address: str) -> dict[str, float]:
    """By the labels of the series, as the process has them now."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as reply:
        lines = reply.read().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith("retrograde_worker_lag_messages{"))
    return {series: float(value) for series, _, value in found}


def series(topic: str, group: str) -> str:
    return f'retrograde_worker_lag_messages{{group="{group}",topic="{topic}"}}'


def test_the_lag_is_told_without_workers(tmp_path: Path) -> None:
    """Of both topics, by a trainer that is the only process there is."""
    url = f"sqlite:///{tmp_path}/broker.db"
    broker = open_broker(url)
    for topic, num_messages in ((PROBLEMS_TOPIC, 3), (TREES_TOPIC, 2)):
        broker.create_topic(topic, 2)
        for i in range(num_messages):
            broker.publish(topic, str(i), b"")
    broker.close()
    peers = dict.fromkeys(("inference", "verifier", "rollouts"), NOWHERE)
    places = {"broker": url, "store": f"file://{tmp_path}/store", "work_dir": str(tmp_path / "work")}
    with started(tmp_path, "services.trainer", metrics_port=-1, **peers, **places) as trainer:
        address = trainer.until("ready")["metrics_address"]
        expected = {series(PROBLEMS_TOPIC, SEARCH_GROUP): 3.0, series(TREES_TOPIC, REWRITER_GROUP): 2.0}
        late = time.monotonic() + SECONDS
        while (found := lags(address)) != expected and time.monotonic() < late:
            time.sleep(0.1)
        assert found == expected
