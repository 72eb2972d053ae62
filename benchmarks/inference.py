"""The inference service over gRPC against the bare engine: `LLM.generate` in a process of its own.

    inference-throughput          what a search asks of the Countdown model, all at once; generated tokens per second
    inference-throughput-smollm2  the same with SmolLM2-135M on word problems
    inference-siblings            requests for n = k completions, one after the other
    inference-siblings-smollm2    the same with SmolLM2-135M on word problems
    inference-prefill             prompt tokens computed against the trees' distinct tokens (prompts of some 300)

Both arms get the same prompts (text), parameters and seeds under the same engine settings, new ones for each pair, and
stop by the same token ids; the bare engine makes no text. Both are warm; while one works the other waits for input.
Ours includes the client, in the bench's process.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
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

    def __init__(self, service: Inference, bare: BareEngine, draw: Draw, *, one_by_one: bool) -> None:
        self._service = service
        self._bare = bare
        self._draw = draw
        self._one_by_one = one_by_one
        self._asked: Sequence[Asked] = ()
        self._tokens: list[int] = []

    def prepare(self, repetition: int) -> None:
        """New requests."""
        self._asked = self._draw(repetition)

    def ours(self) -> float:
        """Through the service."""
        seconds, answers = self._service.replay(self._asked, one_by_one=self._one_by_one)
        self._tokens.append(sum(each.num_tokens for answer in answers for each in answer.completions))
        return self._tokens[-1] / seconds

    def against(self) -> float:
        """By the bare engine."""
        figures = self._bare.replay(self._asked, one_by_one=self._one_by_one)
        return figures.generated_tokens / figures.seconds

    def note(self) -> str:
        """How much was asked."""
        num_sequences = sum(each.num_sequences for each in self._asked)
        how = "one after the other" if self._one_by_one else "at once"
        tokens = statistics.median(self._tokens)
        return f"{len(self._asked)} requests {how}, {num_sequences} sequences, {tokens:.0f} tokens"


class _Prefill:
    """Prompt tokens the engine computed, and the distinct tokens of the trees: the trie of prompts and completions."""

    def __init__(self, service: Inference) -> None:
        self._service = service
        self._prompts: set[tuple[int, ...]] = set()
        self._sequences = 0
        self.computed = 0.0
        self.distinct = 0.0
        self.distinct_prompt = 0.0

    def replay(self, repetition: int) -> None:
        """New problems. What they share with earlier ones is cached, and not counted as distinct again."""
        asked = word_requests(repetition, num_trees=2)
        before = self._service.prefilled_tokens()
        _, answers = self._service.replay(asked)
        self.computed = self._service.prefilled_tokens() - before
        prompts = _prefixes(answer.prompt_token_ids.tolist() for answer in answers)
        told = _prefixes(
            [*answer.prompt_token_ids.tolist(), *each.token_ids.tolist()]
            for answer in answers
            for each in answer.completions
        )
        self.distinct_prompt = len(prompts - self._prompts)
        self.distinct = len((told | prompts) - self._prompts)
        self._prompts |= prompts
        self._sequences = sum(each.num_sequences for each in asked)

    def note(self) -> str:
        """What is computed twice."""
        return (
            f"{self._sequences} sequences, each computes its prompt's tokens after the last whole cache block again; "
            f"of the distinct tokens {self.distinct_prompt:.0f} are of prompts: "
            f"{self.computed / self.distinct_prompt:.1f} computed for each of these"
        )


def _prefixes(sequences: Iterable[Sequence[int]]) -> set[tuple[int, ...]]:
    """The nodes of the sequences' trie."""
    return {tuple(sequence[:end]) for sequence in sequences for end in range(1, len(sequence) + 1)}


@contextlib.contextmanager
def _prefill() -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as folder:
        config = write_settings(Path(folder), _settings(ensure_model(), folder))
        with running_inference(config) as service:
            prefill = _Prefill(service)
            yield Arms(lambda: prefill.computed, lambda: prefill.distinct, prefill.replay, prefill.note)


def _settings(checkpoint: Path, folder: str) -> dict[str, object]:
    return {"checkpoint": str(checkpoint), "store": f"file://{folder}/store", "kv_cache_bytes": KV_CACHE_BYTES}


@contextlib.contextmanager
def _both(checkpoint: Path, draw: Draw, *, one_by_one: bool = False) -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as folder:
        config = write_settings(Path(folder), _settings(checkpoint, folder))
        with running_inference(config) as service, running_bare_engine(config) as bare:
            replay = _Replay(service, bare, draw, one_by_one=one_by_one)
            yield Arms(replay.ours, replay.against, replay.prepare, replay.note)


def _countdown() -> contextlib.AbstractContextManager[Arms]:
    return _both(COUNTDOWN, lambda repetition: countdown_requests(repetition, num_trees=16))


def _smollm2() -> contextlib.AbstractContextManager[Arms]:
    return _both(ensure_model(), lambda repetition: word_requests(repetition, num_trees=2))


def _siblings() -> contextlib.AbstractContextManager[Arms]:
    return _both(COUNTDOWN, lambda repetition: countdown_requests(repetition, num_trees=2), one_by_one=True)


def _siblings_smollm2() -> contextlib.AbstractContextManager[Arms]:
    return _both(ensure_model(), lambda repetition: word_requests(repetition, num_trees=1), one_by_one=True)


BENCHES: Sequence[Bench] = (
    Bench("inference-throughput", "tokens/s", 0.85, Direction.UP, _countdown),
    Bench("inference-throughput-smollm2", "tokens/s", 0.85, Direction.UP, _smollm2),
    Bench("inference-siblings", "tokens/s", 0.95, Direction.UP, _siblings, num_repetitions=25),
    Bench("inference-siblings-smollm2", "tokens/s", 0.95, Direction.UP, _siblings_smollm2),
    Bench("inference-prefill", "tokens", 1.10, Direction.DOWN, _prefill),
)
