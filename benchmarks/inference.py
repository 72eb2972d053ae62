"""The inference service over gRPC against the bare engine: `LLM.generate` in a process of its own.

    inference-throughput          what a search asks of the Countdown model, all at once; generated tokens per second
    inference-throughput-smollm2  the same with SmolLM2-135M on word problems
    inference-siblings            requests for n = k completions, one after the other

Both arms get the same prompts (text), parameters and seeds under the same engine settings, new ones for each pair.
Both are warm; while one works the other waits for input. Ours includes the client, in the bench's process.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.bare_engine import BareEngine, running_bare_engine
from benchmarks.bench import Arms, Bench, Direction
from benchmarks.inference_process import Inference, running_inference, write_settings
from benchmarks.search_requests import Asked, countdown_requests, word_requests
from tools.smollm2 import ensure_model

ROOT = Path(__file__).resolve().parents[1]
COUNTDOWN = ROOT / "models/countdown-base"
KV_CACHE_BYTES = 1 << 28

Draw = Callable[[int], Sequence[Asked]]


class _Replay:
    """Both arms over the same requests; figures are generated tokens per second."""

    def __init__(self, service: Inference, bare: BareEngine, draw: Draw) -> None:
        self._service = service
        self._bare = bare
        self._draw = draw
        self._asked: Sequence[Asked] = ()
        self._tokens: list[int] = []

    def prepare(self, repetition: int) -> None:
        """New requests."""
        self._asked = self._draw(repetition)

    def ours(self) -> float:
        """Through the service."""
        seconds, answers = self._service.replay(self._asked)
        self._tokens.append(sum(each.num_tokens for answer in answers for each in answer.completions))
        return self._tokens[-1] / seconds

    def against(self) -> float:
        """By the bare engine."""
        figures = self._bare.replay(self._asked)
        return figures.generated_tokens / figures.seconds

    def note(self) -> str:
        """How much was asked."""
        num_sequences = sum(each.num_sequences for each in self._asked)
        return f"{len(self._asked)} requests, {num_sequences} sequences, {statistics.median(self._tokens):.0f} tokens"


@contextlib.contextmanager
def _both(checkpoint: Path, draw: Draw) -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"checkpoint": str(checkpoint), "store": f"file://{folder}/store", "kv_cache_bytes": KV_CACHE_BYTES}
        config = write_settings(Path(folder), settings)
        with running_inference(config) as service, running_bare_engine(config) as bare:
            replay = _Replay(service, bare, draw)
            yield Arms(replay.ours, replay.against, replay.prepare, replay.note)


def _countdown() -> contextlib.AbstractContextManager[Arms]:
    return _both(COUNTDOWN, lambda repetition: countdown_requests(repetition, num_trees=16))


def _smollm2() -> contextlib.AbstractContextManager[Arms]:
    return _both(ensure_model(), lambda repetition: word_requests(repetition, num_trees=2))


BENCHES: Sequence[Bench] = (
    Bench("inference-throughput", "tokens/s", 0.85, Direction.UP, _countdown),
    Bench("inference-throughput-smollm2", "tokens/s", 0.85, Direction.UP, _smollm2),
)
