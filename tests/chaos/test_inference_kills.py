"""The inference service killed with -9 at named points, while callers ask and weights are swapped all the time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from retrograde.cli.servers.minio_server import MinioServer
from retrograde.cli.topology import free_ports
from retrograde.core.policy import Generation, InFlight, Prompt, Sampling
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import UnavailableError
from retrograde.wire.clients import InferenceClient, Model
from services.inference.weights import Cache, Checkpoints
from tests.chaos.crew import Service
from tests.chaos.kill_points import INFERENCE
from tests.chaos.test_rollouts_kills import Watchman
from tests.unit.inference.fakes_inference import write_checkpoint

NUM_CALLERS = 12
KEYS = ("policies/a", "policies/b")
ASK = (Prompt("aab"), Sampling(n=2, max_tokens=4))
PATIENCE_SECONDS = 240.0

pytestmark = [pytest.mark.chaos, pytest.mark.minio, pytest.mark.timeout(300)]


class Pool:
    """The service under its watchman, and what each checkpoint answers."""

    def __init__(self, folder: Path, store_url: str) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        store = open_store(store_url)
        model = write_checkpoint(folder / "first")
        for fill, key in enumerate(KEYS, start=1):
            store.upload(key, write_checkpoint(folder / f"policy{fill}", fill))
        self.checkpoints = Checkpoints(store, "policy", model, Cache(folder / "eyes", 9, 1 << 30))
        self.answer_of = {key: self.checkpoints.prepare(key).digest for key in KEYS}
        settings = {
            "listen": self.address,
            "store": store_url,
            "checkpoint": str(model),
            "cache": str(folder / "cache"),
            "cache_checkpoints": 1,  # each swap fetches
        }
        config = folder / "inference.yaml"
        config.write_text(yaml.safe_dump(settings))
        service = Service("inference", config, list(INFERENCE), "tests.chaos.scripted_inference")
        self.watchman = Watchman(service, folder / "inference.log")

    @property
    def is_calm(self) -> bool:
        """Whether it died at each of its points."""
        return len(self.watchman.service.died_at) == len(INFERENCE)


class Callers:
    """Those who ask, and who swaps; `key_of` has the checkpoint of each version that was answered to the latter."""

    def __init__(self, pool: Pool, client: InferenceClient) -> None:
        self.pool = pool
        self.client = client
        self.key_of: dict[int, str] = {}
        self.answers: list[list[Generation]] = [[] for _ in range(NUM_CALLERS)]
        self.is_over = asyncio.Event()

    def name_of(self, version: int) -> str:
        """What the engine answers under it."""
        return self.pool.answer_of[self.key_of[version]] if version > 1 else "first"

    async def run(self) -> Model:
        """Until the service is calm and has swapped once more; what it serves then."""
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            for mine in self.answers:
                group.create_task(self._ask_on_and_on(mine))
            await self._swap_on_and_on()
            self.is_over.set()
        return await self.client.get_model()

    async def _ask_on_and_on(self, mine: list[Generation]) -> None:
        while not self.is_over.is_set():
            mine.append(await self.client.generate(*ASK))

    async def _swap_on_and_on(self) -> None:
        for key, in_flight in zip(itertools.cycle(KEYS), itertools.cycle(InFlight), strict=False):
            was_calm = self.pool.is_calm
            self.key_of[await self._swap(key, in_flight)] = key
            if was_calm:
                return

    async def _swap(self, key: str, in_flight: InFlight) -> int:
        """As a trainer does: again, until it is told the version."""
        while True:
            try:
                return (await self.client.load_weights(key, in_flight=in_flight))[0]
            except UnavailableError:
                await asyncio.sleep(0.1)


@pytest.fixture
def pool(tmp_path: Path, minio_server: MinioServer) -> Iterator[Pool]:
    pool = Pool(tmp_path, minio_server.url("inference"))
    pool.watchman.start()
    try:
        yield pool
    finally:
        pool.watchman.is_over.set()
        pool.watchman.join(30)


async def test_answers_are_those_of_their_versions_whatever_dies(pool: Pool) -> None:
    """No caller sees a failure or an older version again, answers are of their versions, the last one stays."""
    async with InferenceClient(pool.address) as client:
        callers = Callers(pool, client)
        served = await callers.run()
    assert pool.watchman.service.died_at == list(INFERENCE)
    last = max(callers.key_of)
    assert (served.policy_version, served.checkpoint_key) == (last, callers.key_of[last])
    assert pool.checkpoints.last().policy_version == last  # type: ignore[union-attr]
    for mine in callers.answers:
        versions = [answer.policy_versions for answer in mine]
        assert versions == sorted(versions)
        assert [answer for answer in mine if not _is_right(answer, callers)] == []


def _is_right(answer: Generation, callers: Callers) -> bool:
    """Whether it was drawn under checkpoints of its first to its last version, in this order."""
    first, last = answer.policy_versions
    names = iter(callers.name_of(version) for version in range(first, last + 1))
    return all(drawn in names for drawn in answer.completions[0].text.split(">"))
