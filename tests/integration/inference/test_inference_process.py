"""The inference service as a process, over the wire: a random two-layer Llama in vLLM, swapped, killed, restarted."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from retrograde.core.policy import Prompt, Sampling
from retrograde.runtime.errors import ConflictError, InvalidInputError, StalePolicyError
from retrograde.v1.inference_service_pb2 import GenerateRequest, GetModelRequest
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceStub
from retrograde.wire.clients import InferenceClient
from tests.integration.inference.inference_process import Service, running
from tests.integration.inference.tiny_model import LENGTH, WORDS

if TYPE_CHECKING:
    from tests.integration.inference.world import World

pytestmark = pytest.mark.engine

LONG = Prompt("3 4 5 + 7 = 12, " * 14)  # over one cache block
GREEDY = Sampling(temperature=0.0, max_tokens=12)
DRAWN = Sampling(n=4, temperature=1.0, max_tokens=24, seed=7)
DEATH_SECONDS = 60


async def test_siblings_come_from_one_seeded_request(client: InferenceClient) -> None:
    """N completions are drawn, not all alike; the same seed gives the same ones, another seed others."""
    first, again = await client.generate(LONG, DRAWN), await client.generate(LONG, DRAWN)
    texts = [each.text for each in first.completions]
    assert texts == [each.text for each in again.completions]
    assert len(texts) == 4
    assert len(set(texts)) > 1
    assert again.cached_tokens > 0


@pytest.mark.parametrize("stop", [(), (" 9",)], ids=["found by token or not at all", "found in the text"])
async def test_sibling_i_is_what_the_seed_plus_i_draws(client: InferenceClient, stop: tuple[str, ...]) -> None:
    """Siblings travel to the engine together, or one by one where the front end reads along: the completions agree."""
    together = replace(DRAWN, logprobs=True, stop=stop)
    siblings = (await client.generate(LONG, together)).completions
    singles = [replace(together, n=1, seed=7 + index) for index in range(together.n)]
    alone = [(await client.generate(LONG, single)).completions[0] for single in singles]
    assert [each.text for each in siblings] == [each.text for each in alone]
    assert [each.logprob for each in siblings] == pytest.approx([each.logprob for each in alone], abs=1e-3)


async def test_callers_that_leave_make_room(client: InferenceClient) -> None:
    """Calls cancelled in the middle are not counted as running any more, and the next one is answered."""
    calls = [asyncio.create_task(client.generate(LONG, Sampling(n=16, max_tokens=300))) for _ in range(8)]
    async with asyncio.timeout(DEATH_SECONDS):
        while not (await client.get_model()).running_requests:
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        while (await client.get_model()).running_requests:
            await asyncio.sleep(0.01)
    assert len((await client.generate(LONG, DRAWN)).completions) == DRAWN.n


async def test_the_load_is_told_in_sequences_and_prompt_tokens(service: Service, client: InferenceClient) -> None:
    """GetModel tells the engine's seats, that none is taken at rest, and prompt tokens computed and cached so far."""
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub = InferenceServiceStub(channel)
        before = await stub.GetModel(GetModelRequest())
        num_prompt = len((await client.generate(LONG, DRAWN)).prompt_token_ids)
        after = await stub.GetModel(GetModelRequest())
    assert (after.max_num_seqs, after.num_running, after.num_waiting) == (32, 0, 0)
    computed = after.num_prefilled_tokens - before.num_prefilled_tokens
    cached = after.num_cached_tokens - before.num_cached_tokens
    assert computed + cached == DRAWN.n * num_prompt
    assert cached > 0


async def test_another_version_than_the_one_asked_for_is_refused(service: Service, client: InferenceClient) -> None:
    """A request pinned to the served version is answered, one pinned to any other gets FAILED_PRECONDITION."""
    served = (await client.get_model()).policy_version
    ask = {"text": "3 4 5", "sampling": {"max_tokens": 4}}
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub = InferenceServiceStub(channel)
        answer = await stub.Generate(GenerateRequest(**ask, policy_version=served))
        assert answer.policy_version == served
        with pytest.raises(grpc.aio.AioRpcError, match="policy_version: ") as refused:
            await stub.Generate(GenerateRequest(**ask, policy_version=served + 1))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_greedy_is_deterministic(client: InferenceClient) -> None:
    """Temperature 0 gives one answer, also when many others are generated beside it."""
    alone = await client.generate(LONG, GREEDY)
    crowd = await asyncio.gather(*(client.generate(each, GREEDY) for each in [LONG, Prompt("1"), Prompt("2 3")] * 8))
    assert {each.completions[0].text for each in crowd[::3]} == {alone.completions[0].text}


async def test_logprobs_are_there_when_asked_and_agree_with_score(client: InferenceClient) -> None:
    """One per token, summed in `logprob`, and what Score says of the same continuation; none unless asked for."""
    asked = Sampling(temperature=1.0, max_tokens=8, seed=1, logprobs=True)
    told = (await client.generate(LONG, asked)).completions[0]
    silent = (await client.generate(LONG, DRAWN)).completions[0]
    assert len(told.logprobs) == told.num_tokens
    assert told.logprob == pytest.approx(float(told.logprobs.sum()), abs=1e-4)
    assert len(silent.logprobs) == 0
    (score,) = await client.score(LONG.text, ["".join(WORDS[each] for each in told.token_ids)])
    assert score == pytest.approx(told.logprob, abs=1e-3)


async def test_a_stop_ends_the_text_and_is_kept_if_asked(client: InferenceClient) -> None:
    """A one-character stop (found by token) and a longer one (found in the text) both end it, kept or dropped."""
    whole = (await client.generate(LONG, DRAWN)).completions[0]
    one = next(each for each in whole.text if each != " ")
    for stop in (one, whole.text[:3]):
        for include in (True, False):
            sampling = Sampling(n=4, max_tokens=24, seed=7, stop=(stop,), include_stop=include)
            cut = (await client.generate(LONG, sampling)).completions[0]
            end = whole.text.index(stop) + (len(stop) if include else 0)
            assert (cut.text, cut.finish_reason) == (whole.text[:end], "stop")
            assert cut.num_tokens < whole.num_tokens


async def test_a_completion_ends_at_the_models_length(client: InferenceClient) -> None:
    """A prompt that leaves little room is answered up to the model's length, and says so."""
    prompt = Prompt("1" + " 2" * (LENGTH - 6))
    completion = (await client.generate(prompt, Sampling(max_tokens=24, seed=3))).completions[0]
    assert (completion.finish_reason, completion.num_tokens) == ("length", 5)


async def test_a_chat_prompt_is_rendered_with_the_template(client: InferenceClient) -> None:
    """The chat's tokens are the template's, followed by what the assistant has begun."""
    generation = await client.generate(Prompt("3 4", chat=True, begun=" 5"), GREEDY)
    rendered = "".join(WORDS[each] for each in generation.prompt_token_ids)
    assert rendered == "<|user|>3 4\n<|assistant|> 5"


@pytest.mark.parametrize(
    ("prompt", "sampling", "field"),
    [
        (Prompt("1"), Sampling(n=17), "sampling.n"),
        (Prompt("1"), Sampling(max_tokens=LENGTH + 1), "sampling.max_tokens"),
        (Prompt("1" + " 2" * LENGTH), Sampling(max_tokens=4), "prompt"),
        (Prompt(""), Sampling(max_tokens=4), "prompt"),
    ],
)
async def test_a_bad_request_names_its_field(
    client: InferenceClient, prompt: Prompt, sampling: Sampling, field: str
) -> None:
    """The caller gets the domain error again, with the name of the field."""
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        await client.generate(prompt, sampling)


async def test_the_http_api_answers_like_the_wire_and_keeps_its_controls_shut(
    client: InferenceClient, world: World
) -> None:
    """The OpenAI-compatible API gives the same greedy text; vLLM's control routes are not served."""
    expected = (await client.generate(LONG, GREEDY)).completions[0].text
    ask = {"model": "policy", "prompt": LONG.text, "temperature": 0, "max_tokens": 12}
    answer = await asyncio.to_thread(_post, world.http_port, "/v1/completions", ask)
    assert answer["choices"][0]["text"] == expected
    for path in ("/pause", "/update_weights", "/collective_rpc", "/scale_elastic_ep"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            await asyncio.to_thread(_post, world.http_port, path, {})


def _post(port: int, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        return json.loads(answer.read())


async def test_swapped_weights_are_those_of_the_checkpoint(client: InferenceClient, world: World) -> None:
    """After LoadWeights the scores are those transformers computes from the checkpoint, tied output head included."""
    for key in "ba":
        version, gap = await client.load_weights(key)
        assert (gap > 0, (await client.get_model()).policy_version) == (True, version)
        (score,) = await client.score("3 4 5", [" + 7 = 12"])
        ids = (await client.generate(Prompt("3 4 5 + 7 = 12"), GREEDY)).prompt_token_ids
        assert score == pytest.approx(_reference(world.models[key], ids, 3), abs=1e-2)


def _reference(model: Path, ids: Any, num_prompt_tokens: int) -> float:
    """Log-probability of ids[num_prompt_tokens:] by a plain forward pass in float32."""
    import torch  # noqa: PLC0415 - slow to import, and only this test needs it
    from transformers import LlamaForCausalLM  # noqa: PLC0415

    llama = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32)
    row = torch.tensor(np.asarray(ids, np.int64))[None]
    with torch.no_grad():
        logprobs = llama(row).logits.log_softmax(-1)[0]
    told = range(num_prompt_tokens, row.shape[1])
    return float(sum(logprobs[index - 1, row[0, index]] for index in told))


async def test_answers_after_a_swap_use_no_prefix_of_the_old_weights(client: InferenceClient) -> None:
    """A long prompt cached before the swap is computed anew: its answer equals that of a prompt never seen before."""
    await client.load_weights("a")
    await client.generate(LONG, GREEDY)
    await client.load_weights("b")
    after = await client.generate(LONG, GREEDY)
    assert after.cached_tokens == 0
    assert (await client.generate(LONG, GREEDY)).cached_tokens > 0


async def test_an_older_version_is_refused(client: InferenceClient) -> None:
    """A request for a version not served yet, and a swap to a version already passed, get their own errors."""
    await client.load_weights("a")
    served = (await client.get_model()).policy_version
    with pytest.raises(StalePolicyError, match=r"^min_policy_version: "):
        await client.generate(LONG, GREEDY, min_policy_version=served + 1)
    with pytest.raises(ConflictError, match=r"^policy_version: "):
        await client.load_weights("b", served)
    assert await client.load_weights("a", served) == (served, 0.0)


async def test_an_engine_that_dies_takes_its_service_along(world: World, service: Service) -> None:
    """After kill -9 of the engine the service ends by itself; restarted, it answers the same under the same version.

    Then SIGTERM ends it with status 0. (Last: it ends the shared service.)
    """
    async with InferenceClient(service.address) as client:
        version, _ = await client.load_weights("b")
        before = await client.generate(LONG, GREEDY)
    service.kill_engine()
    assert service.process.wait(DEATH_SECONDS) > 0
    with running(world.folder, **world.settings | {"openai_port": 0}) as again:
        async with InferenceClient(again.address) as client:
            after = await client.generate(LONG, GREEDY)
        assert (before.policy_version, after.policy_version) == (version, version)
        assert after.completions[0].text == before.completions[0].text
        assert again.end(signal.SIGTERM) == 0
