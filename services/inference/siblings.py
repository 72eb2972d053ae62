"""The n completions of one request: one message to the engine, which makes n sequences of it there.

vLLM's front end sends each sibling as a request of its own, prompt and all: n messages to encode, decode and hash, and
an engine that is idle begins its first step with the first of them and waits a step for the others. Here the request
travels once, with the number of siblings; the scheduler (`scheduler.QuietScheduler`) takes all of them in at once.
Names and seeds are those vLLM gives (sibling i of request r is `i_r`, its seed is the request's plus i), so the front
end's own bookkeeping of siblings, and their completions, stay the same.
"""

from __future__ import annotations

from copy import copy
from typing import Any

_KEY = "siblings"


async def generate(llm: Any, prompt: Any, parameters: Any, request_id: str) -> Any:
    """The finished output with all of `parameters.n` completions; aborted in the engine when cancelled or failed."""
    from vllm.v1.engine.output_processor import RequestOutputCollector  # noqa: PLC0415

    tasks = await llm.get_supported_tasks()
    request = llm.input_processor.process_inputs(request_id, prompt, parameters, supported_tasks=tasks)
    llm.input_processor.assign_request_id(request)
    queue = RequestOutputCollector(parameters.output_kind, request.request_id)
    try:
        _register(llm.output_processor, request, queue)
        await llm.engine_core.add_request_async(_together(request))
        return await queue.get()
    except BaseException:
        if not llm.errored:
            await llm.abort(request.request_id, internal=True)
        raise


def _register(output_processor: Any, request: Any, queue: Any) -> None:
    """Tells the front end of each sibling."""
    from vllm.v1.engine.parallel_sampling import ParentRequest  # noqa: PLC0415

    parent = ParentRequest(request)
    for index in range(parent.n):
        sibling = copy(request)
        sibling.request_id, sibling.sampling_params = parent.get_child_info(index)
        output_processor.add_request(sibling, None, parent, index, queue)


def _together(request: Any) -> Any:
    """The one request that stands for all siblings on the way to the engine."""
    one = copy(request)
    one.sampling_params = copy(request.sampling_params)
    one.sampling_params.n = 1
    one.sampling_params.extra_args = {_KEY: request.sampling_params.n}
    return one


def apart(request: Any) -> list[Any]:
    """In the engine: the siblings a request stands for; itself alone if it stands for none."""
    extra = request.sampling_params and request.sampling_params.extra_args
    if not extra or _KEY not in extra:
        return [request]
    return [_sibling(request, index) for index in range(extra[_KEY])]


def _sibling(request: Any, index: int) -> Any:
    """A sequence of its own; the hashes of the prompt's blocks, which all share, are copied rather than made again."""
    sampling = copy(request.sampling_params)
    sampling.extra_args = None
    if sampling.seed is not None:
        sampling.seed += index
    sibling = type(request)(
        request_id=f"{index}_{request.request_id}",
        client_index=request.client_index,
        prompt_token_ids=request.prompt_token_ids,
        sampling_params=sampling,
        pooling_params=None,
        arrival_time=request.arrival_time,
        trace_headers=request.trace_headers,
    )
    sibling.block_hashes = list(request.block_hashes)
    sibling._block_hasher = request._block_hasher  # noqa: SLF001 - given to the constructor it would hash at once
    return sibling
