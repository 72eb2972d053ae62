"""Generations and rollouts: message <-> domain type. Arrays travel as packed little-endian bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from retrograde.core.policy import Completion, Generation, InFlight, Prompt, Sampling
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import inference_service_pb2 as inference_pb2
from retrograde.v1 import rollout_pb2
from retrograde.wire.convert import (
    EnumMap,
    cost_from_proto,
    cost_to_proto,
    grade_from_proto,
    grade_to_proto,
    problem_from_proto,
    problem_to_proto,
)

PackedArray = rollout_pb2.Int32Array | rollout_pb2.Float32Array | rollout_pb2.Uint8Array


def int32_to_proto(values: NDArray[np.int32]) -> rollout_pb2.Int32Array:
    """Array int32 [N] -> message."""
    return rollout_pb2.Int32Array(data=np.asarray(values, "<i4").tobytes(), dtype="<i4", shape=values.shape)


def int32_from_proto(message: rollout_pb2.Int32Array, field: str = "array") -> NDArray[np.int32]:
    """Message -> array int32 [N], not writable. Raises InvalidInputError, naming `field`."""
    return np.frombuffer(_checked(message, "<i4", 4, field), "<i4")


def float32_to_proto(values: NDArray[np.float32]) -> rollout_pb2.Float32Array:
    """Array float32 [N] -> message."""
    return rollout_pb2.Float32Array(data=np.asarray(values, "<f4").tobytes(), dtype="<f4", shape=values.shape)


def float32_from_proto(message: rollout_pb2.Float32Array, field: str = "array") -> NDArray[np.float32]:
    """Message -> array float32 [N], not writable. Raises InvalidInputError, naming `field`."""
    return np.frombuffer(_checked(message, "<f4", 4, field), "<f4")


def uint8_to_proto(values: NDArray[np.uint8]) -> rollout_pb2.Uint8Array:
    """Array uint8 [N] -> message."""
    return rollout_pb2.Uint8Array(data=np.asarray(values, "|u1").tobytes(), dtype="|u1", shape=values.shape)


def uint8_from_proto(message: rollout_pb2.Uint8Array, field: str = "array") -> NDArray[np.uint8]:
    """Message -> array uint8 [N], not writable. Raises InvalidInputError, naming `field`."""
    return np.frombuffer(_checked(message, "|u1", 1, field), "|u1")


def _checked(message: PackedArray, dtype: str, item_bytes: int, field: str) -> bytes:
    """The bytes of a one-dimensional array, once type and length are known to fit."""
    data, shape = message.data, message.shape
    if message.dtype not in ("", dtype):
        raise InvalidInputError(f"{field}.dtype: {message.dtype!r} was sent and {dtype!r} is read; convert it first")
    if len(shape) > 1:
        raise InvalidInputError(f"{field}.shape: {list(shape)} has {len(shape)} dimensions; send one")
    if len(data) % item_bytes or (shape and shape[0] * item_bytes != len(data)):
        raise InvalidInputError(
            f"{field}.data: {len(data)} bytes do not hold {shape[0] if shape else 'whole'} items of {item_bytes} bytes"
        )
    return data


def sampling_to_proto(sampling: Sampling) -> inference_pb2.Sampling:
    """Sampling -> message."""
    return inference_pb2.Sampling(
        n=sampling.n,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        stop=sampling.stop,
        include_stop=sampling.include_stop,
        seed=sampling.seed,
        logprobs=sampling.logprobs,
    )


def sampling_from_proto(message: inference_pb2.Sampling) -> Sampling:
    """Message -> Sampling; an absent n is 1, an absent top_p is 1.0. Raises InvalidInputError on a bad value."""
    if message.max_tokens == 0:
        raise InvalidInputError("sampling.max_tokens: 0 generates nothing; ask for at least 1")
    if message.temperature < 0:
        raise InvalidInputError(f"sampling.temperature: {message.temperature} is negative; 0 is greedy")
    return Sampling(
        n=message.n or 1,
        temperature=message.temperature,
        top_p=message.top_p or 1.0,
        max_tokens=message.max_tokens,
        stop=tuple(message.stop),
        include_stop=message.include_stop,
        seed=message.seed if message.HasField("seed") else None,
        logprobs=message.logprobs,
    )


def generate_request(
    prompt: Prompt, sampling: Sampling, min_policy_version: int = 0, policy_version: int = 0
) -> inference_pb2.GenerateRequest:
    """(Prompt, Sampling) -> request."""
    request = inference_pb2.GenerateRequest(
        sampling=sampling_to_proto(sampling),
        min_policy_version=min_policy_version,
        policy_version=policy_version,
        assistant_prefix=prompt.begun,
    )
    if prompt.chat:
        request.chat = prompt.text
    else:
        request.text = prompt.text
    return request


_IN_FLIGHT = EnumMap(InFlight, inference_pb2.InFlight, "IN_FLIGHT")


def in_flight_to_proto(in_flight: InFlight | None) -> inference_pb2.InFlight.ValueType:
    """What a swap does to running requests -> message; None, the service's own setting, is unspecified."""
    if in_flight is None:
        return inference_pb2.IN_FLIGHT_UNSPECIFIED
    number: inference_pb2.InFlight.ValueType = _IN_FLIGHT.to_proto(in_flight)
    return number


def in_flight_from_proto(number: int) -> InFlight | None:
    """Message -> what a swap does to running requests; None when unspecified. Raises InvalidInputError if unknown."""
    in_flight: InFlight | None = _IN_FLIGHT.from_proto(number) if number else None
    return in_flight


def _completion_to_proto(completion: Completion) -> inference_pb2.Completion:
    return inference_pb2.Completion(
        token_ids=int32_to_proto(completion.token_ids),
        logprobs=float32_to_proto(completion.logprobs),
        text=completion.text,
        finish_reason=completion.finish_reason,
        logprob=completion.logprob,
    )


def _completion_from_proto(message: inference_pb2.Completion) -> Completion:
    return Completion(
        text=message.text,
        token_ids=int32_from_proto(message.token_ids),
        logprobs=float32_from_proto(message.logprobs),
        logprob=message.logprob,
        finish_reason=message.finish_reason,
    )


def generation_to_proto(generation: Generation) -> inference_pb2.GenerateResponse:
    """Generation -> message."""
    return inference_pb2.GenerateResponse(
        completions=[_completion_to_proto(completion) for completion in generation.completions],
        policy_version=generation.policy_version,
        prompt_token_ids=int32_to_proto(generation.prompt_token_ids),
        cached_tokens=generation.cached_tokens,
        engine_seconds=generation.engine_seconds,
        last_policy_version=generation.last_policy_version,
    )


def generation_from_proto(message: inference_pb2.GenerateResponse) -> Generation:
    """Message -> Generation."""
    return Generation(
        completions=tuple(_completion_from_proto(completion) for completion in message.completions),
        policy_version=message.policy_version,
        prompt_token_ids=int32_from_proto(message.prompt_token_ids),
        cached_tokens=message.cached_tokens,
        engine_seconds=message.engine_seconds,
        last_policy_version=message.last_policy_version,
    )


def sample_to_proto(sample: Sample) -> rollout_pb2.Sample:
    """Sample -> message."""
    return rollout_pb2.Sample(
        token_ids=int32_to_proto(sample.token_ids),
        logprobs=float32_to_proto(sample.logprobs),
        text=sample.text,
        finish_reason=sample.finish_reason,
        grade=grade_to_proto(sample.grade),
        reward=sample.reward,
        backtracks=sample.backtracks,
        mask=uint8_to_proto(sample.mask),
        first_policy_version=sample.policy_versions[0],
        last_policy_version=sample.policy_versions[1],
        cost=cost_to_proto(sample.cost),
    )


def sample_from_proto(message: rollout_pb2.Sample) -> Sample:
    """Message -> Sample. Raises InvalidInputError for arrays that do not fit each other."""
    token_ids = int32_from_proto(message.token_ids, "token_ids")
    mask = uint8_from_proto(message.mask, "mask")
    if len(mask) not in (0, len(token_ids)):
        raise InvalidInputError(f"mask: {len(mask)} values for {len(token_ids)} tokens; send one for each, or none")
    return Sample(
        token_ids=token_ids,
        logprobs=float32_from_proto(message.logprobs, "logprobs"),
        text=message.text,
        finish_reason=message.finish_reason,
        grade=grade_from_proto(message.grade),
        reward=message.reward,
        backtracks=message.backtracks,
        mask=mask,
        policy_versions=(message.first_policy_version, message.last_policy_version),
        cost=cost_from_proto(message.cost),
    )


def rollout_group_to_proto(group: RolloutGroup) -> rollout_pb2.RolloutGroup:
    """RolloutGroup -> message."""
    return rollout_pb2.RolloutGroup(
        id=group.id,
        lease_id=group.lease_id,
        problem=problem_to_proto(group.problem),
        prompt_token_ids=int32_to_proto(group.prompt_token_ids),
        samples=[sample_to_proto(sample) for sample in group.samples],
        policy_version=group.policy_version,
        epoch=group.epoch,
    )


class ReceivedSamples(Sequence[Sample]):
    """The samples of a received group, converted when the first of them is asked for: a stream does not wait for it.

    Raises InvalidInputError then for arrays that do not fit each other.
    """

    def __init__(self, messages: Sequence[rollout_pb2.Sample]) -> None:
        self._messages = messages
        self._samples: tuple[Sample, ...] | None = None

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        return self._all[index]

    def __reduce__(self) -> tuple[type, tuple[tuple[Sample, ...]]]:
        return tuple, (self._all,)

    @property
    def _all(self) -> tuple[Sample, ...]:
        messages = self._messages  # read first: they are let go once there are samples
        if self._samples is None:
            self._samples = tuple(map(sample_from_proto, messages))
            self._messages = ()
        return self._samples


def rollout_group_from_proto(message: rollout_pb2.RolloutGroup) -> RolloutGroup:
    """Message -> RolloutGroup, its samples when they are first asked for."""
    return RolloutGroup(
        id=message.id,
        lease_id=message.lease_id,
        problem=problem_from_proto(message.problem),
        prompt_token_ids=int32_from_proto(message.prompt_token_ids),
        samples=ReceivedSamples(message.samples),
        policy_version=message.policy_version,
        epoch=message.epoch,
    )
