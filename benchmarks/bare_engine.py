"""The bare engine in a process of its own: `LLM.generate` on the same settings, prompts and parameters as the service.

    python -m benchmarks.bare_engine --config FILE.yaml      one JSON line of requests in, one JSON line of figures out

A line may also name a checkpoint's folder: its weights are loaded in place of the served ones.

vLLM's engine and front end share this process: no second process, no sockets and no RPC stand between a caller and it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.search_requests import Asked
from retrograde.runtime.settings import load_settings
from services.inference import engine
from services.inference.settings import InferenceSettings
from services.inference.words import Words

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 30.0
_NOT_FOR_LLM = ("scheduler_cls", "worker_extension_cls")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one replay: wall seconds, and tokens generated."""

    seconds: float
    generated_tokens: int


class BareEngine:
    """The process, seen from the bench."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def replay(self, asked: Sequence[Asked], *, one_by_one: bool = False) -> Figures:
        """All requests in one call of `LLM.generate`, or each in a call of its own."""
        requests = [_to_json(each) for each in asked]
        return self._ask([[each] for each in requests] if one_by_one else [requests])

    def reload(self, folder: Path) -> float:
        """Seconds that it takes to load that checkpoint's weights."""
        return self._ask(str(folder)).seconds

    def _ask(self, line: object) -> Figures:
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(json.dumps(line) + "\n")
        stdin.flush()
        return Figures(**_answer(self._process))


@contextlib.contextmanager
def running_bare_engine(config: Path) -> Iterator[BareEngine]:
    """Starts it with the service's settings file, warm when it answers first; ends it when left."""
    command = [sys.executable, "-m", "benchmarks.bare_engine", "--config", str(config)]
    log = (config.parent / "bare.log").open("w")
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
    )
    try:
        _answer(process)
        yield BareEngine(process)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        log.close()


def _answer(process: subprocess.Popen[str]) -> Any:
    """The next line that is an answer; what vLLM prints is passed over. Raises RuntimeError when it has ended."""
    for line in cast("IO[str]", process.stdout):
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"the bare engine ended with status {process.wait(STOP_SECONDS)}")


def _to_json(asked: Asked) -> dict[str, Any]:
    return {"prompt": asked.prompt.text + asked.prompt.begun, "sampling": asdict(asked.sampling)}


def _parameters(words: Words, sampling: dict[str, Any]) -> Any:
    """The same question in vLLM's terms, and in the cheapest: stops by token id where the service finds them so.

    No text is made then; the service's own text is part of what it costs.
    """
    from vllm import SamplingParams  # noqa: PLC0415

    logprobs, include_stop, stop = (sampling.pop(name) for name in ("logprobs", "include_stop", "stop"))
    by_id = words.stop_ids(stop)
    return SamplingParams(
        **sampling,
        stop=stop if by_id is None else None,
        stop_token_ids=list(by_id or ()),
        detokenize=by_id is None,
        include_stop_str_in_output=include_stop,
        logprobs=0 if logprobs else None,
    )


def main() -> None:
    """Answers until its input ends."""
    settings = load_settings(InferenceSettings, sys.argv[1:])
    engine.prepare_environment(settings)
    from vllm import LLM  # noqa: PLC0415

    args = engine.engine_args(settings, settings.checkpoint)
    llm = LLM(**{name: value for name, value in args.items() if name not in _NOT_FOR_LLM})
    words = Words(llm.get_tokenizer())
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        figures = _reload(llm, asked) if isinstance(asked, str) else _replay(llm, words, asked)
        print(json.dumps(asdict(figures)), flush=True)


def _reload(llm: Any, folder: str) -> Figures:
    began = time.perf_counter()
    llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
    return Figures(time.perf_counter() - began, 0)


def _replay(llm: Any, words: Words, asked: Any) -> Figures:
    calls = [
        ([each["prompt"] for each in call], [_parameters(words, each["sampling"]) for each in call]) for call in asked
    ]
    began = time.perf_counter()
    outputs = [each for prompts, how in calls for each in llm.generate(prompts, how, use_tqdm=False)]
    seconds = time.perf_counter() - began
    return Figures(seconds, sum(len(each.token_ids) for output in outputs for each in output.outputs))


if __name__ == "__main__":
    main()
