"""How long no token is drawn when weights are swapped, against the same bytes read and loaded by a bare engine.

    weight-swap            SmolLM2-135M
    weight-swap-countdown  the tiny demo model: what a swap costs beside its bytes

Ours: the service, with requests that run on over the swap, loads a checkpoint from a store; the figure is the seconds
in which no token was drawn, as it says itself. Against: the files are read once, then loaded by vLLM in place, in a
process that has neither service nor requests. Two keys with the same files take turns, so that each load is a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc

from benchmarks.bare_engine import BareEngine, running_bare_engine
from benchmarks.bench import Arms, Bench, Direction
from benchmarks.inference import COUNTDOWN, KV_CACHE_BYTES
from benchmarks.inference_process import Inference, running_inference, write_settings
from retrograde.core.policy import Prompt, Sampling
from retrograde.runtime.adapters import open_store
from retrograde.v1 import inference_service_pb2 as pb
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceStub
from retrograde.wire.clients import InferenceClient
from tools.smollm2 import ensure_model

NUM_RUNNING = 8
_ASK = Sampling(max_tokens=64)


class _Swaps:
    """Both arms."""

    def __init__(self, service: Inference, bare: BareEngine, folder: Path) -> None:
        self._service = service
        self._bare = bare
        self._folder = folder
        self._num_swaps = 0
        self._whole: list[float] = []
        self._reads: list[float] = []

    def ours(self) -> float:
        """Seconds in which no token was drawn."""
        self._num_swaps += 1
        return self._service.run(self._swap)

    async def _swap(self, client: InferenceClient) -> float:
        running = [asyncio.create_task(client.generate(Prompt(f"{number} "), _ASK)) for number in range(NUM_RUNNING)]
        while (await client.get_model()).running_requests < NUM_RUNNING:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
        async with grpc.aio.insecure_channel(client.address) as channel:
            request = pb.LoadWeightsRequest(checkpoint_key="ab"[self._num_swaps % 2], in_flight=pb.IN_FLIGHT_CONTINUE)
            began = time.perf_counter()
            swap = await InferenceServiceStub(channel).LoadWeights(request)
            self._whole.append(time.perf_counter() - began)
        await asyncio.gather(*running)
        return swap.stopped_seconds

    def against(self) -> float:
        """Seconds to read the files and to load them."""
        began = time.perf_counter()
        for file in self._folder.glob("*.safetensors"):
            file.read_bytes()
        self._reads.append(time.perf_counter() - began)
        return self._reads[-1] + self._bare.reload(self._folder)

    def note(self) -> str:
        """What else there is to say of the swap."""
        num_bytes = sum(file.stat().st_size for file in self._folder.glob("*.safetensors"))
        return (
            f"{num_bytes / 1e6:.1f} MB, {NUM_RUNNING} requests run on over each swap; LoadWeights in all, fetched or "
            f"found in the cache and checked, {statistics.median(self._whole):.3f} s; reading alone "
            f"{statistics.median(self._reads):.3f} s"
        )


@contextlib.contextmanager
def _both(checkpoint: Path) -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"file://{folder}/store"
        for key in "ab":
            open_store(url).upload(key, checkpoint)
        settings = {"checkpoint": str(checkpoint), "store": url, "cache": f"{folder}/cache"}
        config = write_settings(folder, settings | {"kv_cache_bytes": KV_CACHE_BYTES})
        with running_inference(config) as service, running_bare_engine(config) as bare:
            swaps = _Swaps(service, bare, checkpoint)
            yield Arms(swaps.ours, swaps.against, note=swaps.note)


BENCHES: Sequence[Bench] = (
    Bench("weight-swap", "s", 1.5, Direction.DOWN, lambda: _both(ensure_model()), num_repetitions=9),
    Bench("weight-swap-countdown", "s", 1.5, Direction.DOWN, lambda: _both(COUNTDOWN), num_repetitions=15),
)
