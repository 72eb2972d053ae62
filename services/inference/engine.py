"""The vLLM engine. Only this file, child.py (in its process) and openai.py (its HTTP face) touch vLLM.

`start` builds an AsyncLLM whose scheduler and model run in one child process; this process tokenises, detokenises and
answers. On a CPU the usual third process (an executor worker) only adds hops, so it is left out.

A weight swap is four calls in that child: stop (no step is begun), load the tensors into the model that stands (vLLM's
layer-wise reload, which also repacks kernels' private copies), forget all keys and values (the cache knows a block by
its tokens, not by the weights), go on. Requests that stay over a swap lose their keys and values too, and have them
computed anew, from the prompt and what they had drawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from retrograde.core.policy import Completion
from retrograde.runtime.errors import RetrogradeError, UnavailableError
from services.inference import siblings
from services.inference.tally import PromptTally
from services.inference.words import Words, cut_at_stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from retrograde.core.policy import Sampling
    from services.inference.settings import InferenceSettings
    from services.inference.transport import Weights

_FINISHED = {"stop", "length"}
_SEED_RANGE = 1 << 63
_LOOK_EVERY_SECONDS = 1.0
_WHOLE_PROMPTS_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Drawn:
    """Completions of one engine request, and how many prompt tokens the prefix cache held."""

    completions: tuple[Completion, ...]
    cached_tokens: int


class Engine:
    """One model in vLLM; every method may be called by many tasks at once, except the swap."""

    def __init__(self, llm: Any, prompts: PromptTally) -> None:
        self.llm = llm
        self.prompts = prompts
        self.words = Words(llm.get_tokenizer())
        self.max_model_tokens: int = llm.model_config.max_model_len
        self.num_token_ids: int = llm.model_config.get_vocab_size()
        self._numbers = itertools.count()
        self._given_up = ""

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, stop_token_ids: Sequence[int]) -> Drawn:
        """`sampling.n` completions of the prompt in one request. Raises UnavailableError when the engine is gone."""
        self._check_not_given_up()
        by_id = self.words.stop_ids(sampling.stop)
        output = await self._run(prompt_ids, _parameters(sampling, stop_token_ids, by_id))
        made = (self._completion(prompt_ids, each, sampling, stop_token_ids, by_id) for each in output.outputs)
        return Drawn(tuple(made), output.num_cached_tokens or 0)

    async def score(self, prompt_ids: Sequence[int], continuation_ids: Sequence[int]) -> float:
        """Summed log-probability in nats of the continuation after the prompt. Raises as `generate` does."""
        self._check_not_given_up()
        ids = [*prompt_ids, *continuation_ids]
        output = await self._run(ids, _sampling_params(max_tokens=1, temperature=0.0, prompt_logprobs=0))
        told = range(len(prompt_ids), len(ids))
        return float(sum(output.prompt_logprobs[index][ids[index]].logprob for index in told))

    @contextlib.asynccontextmanager
    async def stopped(self, *, keep: bool) -> AsyncIterator[None]:
        """Inside, no token is drawn. With `keep` running requests stay and go on afterwards; else they end first.

        Given up inside, the engine is not started again, for HTTP neither: what stayed is aborted.
        """
        await self._pause("keep" if keep else "wait")
        try:
            yield
        finally:
            if self._given_up:
                await self._pause("abort")
            else:
                await self.llm.resume_generation()

    async def _pause(self, mode: str) -> None:
        await self.llm.engine_core.pause_scheduler_async(mode=mode, clear_cache=False)

    async def load(self, weights: Weights) -> None:
        """Puts these tensors in place of the served ones. Only while stopped."""
        await self.llm.collective_rpc(weights.method, args=weights.args)
        await self.forget_prefixes()

    async def forget_prefixes(self) -> None:
        """Drops all keys and values, those of requests that stay too. Raises UnavailableError when it cannot."""
        if not await self.llm.reset_prefix_cache(reset_running_requests=True):
            raise UnavailableError("prefix cache: blocks are still in use; the weights were not swapped")

    def give_up(self, reason: str) -> None:
        """Answers nothing any more; `watch` raises."""
        self._given_up = reason

    def _check_not_given_up(self) -> None:
        if self._given_up:
            raise UnavailableError(f"engine: {self._given_up}; the service must be restarted")

    async def watch(self, drain: asyncio.Event) -> None:
        """Until `drain`. Raises RetrogradeError when the engine has died: the service must end, to be started again."""
        while not drain.is_set():
            if self.llm.errored or self._given_up:
                raise RetrogradeError(f"engine: {self._given_up or 'its process has died; the log above says why'}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(drain.wait(), _LOOK_EVERY_SECONDS)

    async def _run(self, prompt_ids: Sequence[int], parameters: Any) -> Any:
        from vllm.inputs.engine import tokens_input  # noqa: PLC0415
        from vllm.v1.engine.exceptions import EngineDeadError  # noqa: PLC0415

        request_id = f"{next(self._numbers)}"
        prompt = tokens_input(list(prompt_ids))
        try:
            if parameters.n > 1 and not parameters.detokenize:
                last = await siblings.generate(self.llm, prompt, parameters, request_id)
            else:
                last = await _last(self.llm.generate(prompt, parameters, request_id))
        except EngineDeadError as error:
            raise UnavailableError("engine: it has died; the service must be restarted") from error
        if last is None or not last.finished:
            raise UnavailableError("engine: it stopped before the answer was complete; ask again")
        return last

    def _completion(
        self,
        prompt_ids: Sequence[int],
        output: Any,
        sampling: Sampling,
        stop_token_ids: Sequence[int],
        by_id: tuple[int, ...] | None,
    ) -> Completion:
        if output.finish_reason not in _FINISHED:
            raise UnavailableError(f"engine: a completion ended by {output.finish_reason}; ask again")
        text = output.text
        if by_id is not None:
            kept = _told(output, stop_token_ids, include_stop=sampling.include_stop)
            text = cut_at_stop(self.words.decode(prompt_ids, kept), sampling.stop, include=sampling.include_stop)
        logprobs = _logprobs(output) if sampling.logprobs else np.empty(0, np.float32)
        return Completion(
            text=text,
            token_ids=np.asarray(output.token_ids, np.int32),
            logprobs=logprobs,
            logprob=float(logprobs.sum(dtype=np.float64)),
            finish_reason=output.finish_reason,
        )


async def _last(stream: AsyncIterator[Any]) -> Any:
    """The last output of a request; None if there was none."""
    last = None
    async for output in stream:
        last = output
    return last


def _told(output: Any, stop_token_ids: Sequence[int], *, include_stop: bool) -> list[int]:
    """The ids that are text: without the end token, and without a stop token that is not to be kept."""
    ids = list(output.token_ids)
    ended_by_end_token = output.finish_reason == "stop" and output.stop_reason is None
    dropped = output.stop_reason in stop_token_ids and not include_stop
    return ids[:-1] if ended_by_end_token or dropped else ids


def _logprobs(output: Any) -> Any:
    """float32 [T]: of each sampled token under the model itself, before temperature and top_p."""
    pairs = zip(output.logprobs, output.token_ids, strict=True)
    return np.fromiter((position[token].logprob for position, token in pairs), np.float32, len(output.token_ids))


def _parameters(sampling: Sampling, stop_token_ids: Sequence[int], by_id: tuple[int, ...] | None) -> Any:
    """In vLLM's terms; stop strings are left to its detokeniser only where no token ids can stand for them."""
    return _sampling_params(
        n=sampling.n,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        stop=None if by_id is not None else list(sampling.stop),
        stop_token_ids=[*stop_token_ids, *(by_id or ())],
        include_stop_str_in_output=sampling.include_stop,
        seed=None if sampling.seed is None else sampling.seed % _SEED_RANGE,
        logprobs=0 if sampling.logprobs else None,
        detokenize=by_id is None,
    )


def _sampling_params(**fields: Any) -> Any:
    from vllm import SamplingParams  # noqa: PLC0415
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    return SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, skip_clone=True, **fields)


def prepare_environment(settings: InferenceSettings) -> None:
    """Sets what vLLM reads from the environment; call before vLLM or torch is first imported.

    One executor inside the engine's process instead of a third process; no usage reports; its log lines go to ours.
    """
    threads = str(settings.engine_threads)
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_NO_USAGE_STATS="1",
        VLLM_CONFIGURE_LOGGING="0",
        OMP_NUM_THREADS=threads,
        TOKENIZERS_PARALLELISM="false",
    )


@contextlib.asynccontextmanager
async def start(settings: InferenceSettings, folder: Path) -> AsyncIterator[Engine]:
    """The engine with the checkpoint in `folder`, until left. Takes 10-50 s on two cores."""
    from vllm import AsyncEngineArgs  # noqa: PLC0415
    from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

    prompts = PromptTally()
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_args(settings, folder)), stat_loggers=[prompts])
    engine = Engine(llm, prompts)
    try:
        yield engine
    finally:
        llm.output_handler.cancel()  # else it reports the end of the engine's process as a failure
        await asyncio.to_thread(llm.shutdown)
        del engine.llm, llm  # its destructor shuts down once more: now, not while the interpreter falls apart


def engine_args(settings: InferenceSettings, folder: Path) -> dict[str, Any]:
    """The settings in vLLM's terms."""
    return {
        "model": str(folder),
        "tokenizer": str(settings.checkpoint),
        "served_model_name": [settings.model_name],
        "dtype": _own_dtype(folder) if settings.dtype == "auto" else settings.dtype,
        "max_model_len": settings.max_model_tokens or None,
        "max_num_seqs": settings.max_num_seqs,
        "kv_cache_memory_bytes": settings.kv_cache_bytes,
        "block_size": settings.block_tokens,
        "enforce_eager": settings.enforce_eager,
        "seed": settings.seed,
        "enable_prefix_caching": True,
        "generation_config": "vllm",
        "worker_extension_cls": "services.inference.child.EngineChild",
        "scheduler_cls": "services.inference.scheduler.QuietScheduler",
        **_cpu_args(settings),
    }


def _cpu_args(settings: InferenceSettings) -> dict[str, Any]:
    """On a CPU prompts are prefilled whole.

    vLLM 0.32 rewinds the random generator of a seeded request whose prompt it has cut; a CPU generator cannot be
    rewound, and the engine would end there.
    """
    from vllm.platforms import current_platform  # noqa: PLC0415

    if not current_platform.is_cpu():
        return {}
    batch = max(_WHOLE_PROMPTS_TOKENS, settings.max_model_tokens)
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": batch}


def _own_dtype(folder: Path) -> str:
    """The checkpoint's own dtype; vLLM's "auto" would round float32 down."""
    config = json.loads((folder / "config.json").read_text())
    return str(config.get("dtype") or config.get("torch_dtype") or "auto")
