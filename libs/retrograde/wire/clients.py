"""One typed client per service: domain types in, domain types out.

Each is an async context manager: `async with InferenceClient("127.0.0.1:50051") as policy: ...`. InferenceClient is a
`core.policy.Policy` and VerifierClient a `core.policy.Verifier`, so the algorithms take them as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import grpc

from retrograde.core.policy import Generation, InFlight, Prompt, Sampling
from retrograde.core.problem import Grade, Problem
from retrograde.core.rollout import RolloutGroup
from retrograde.core.solution import Rewriter, SearchTrace, Solution
from retrograde.runtime.errors import ConflictError, NotFoundError, OtherPolicyError, StalePolicyError
from retrograde.v1 import inference_service_pb2 as inference_pb2
from retrograde.v1 import rewriter_service_pb2 as rewriter_pb2
from retrograde.v1 import rollouts_service_pb2 as rollouts_pb2
from retrograde.v1 import run_pb2
from retrograde.v1 import search_service_pb2 as search_pb2
from retrograde.v1 import trainer_service_pb2 as trainer_pb2
from retrograde.v1 import verifier_service_pb2 as verifier_pb2
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceStub
from retrograde.v1.rewriter_service_pb2_grpc import RewriterServiceStub
from retrograde.v1.rollouts_service_pb2_grpc import RolloutsServiceStub
from retrograde.v1.search_service_pb2_grpc import SearchServiceStub
from retrograde.v1.trainer_service_pb2_grpc import TrainerServiceStub
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceStub
from retrograde.wire.channel import ServiceClient
from retrograde.wire.convert import grade_from_proto, problem_to_proto, trace_from_proto, trace_to_proto
from retrograde.wire.convert_rollout import (
    generate_request,
    generation_from_proto,
    in_flight_to_proto,
    rollout_group_from_proto,
)
from retrograde.wire.convert_solution import rewriter_to_proto, solution_from_proto
from retrograde.wire.routed import RoutedClient

MESSAGE_BYTES = 1 << 18
"""Of groups in one message of a stream of rollouts: larger ones were not faster."""


@dataclass(frozen=True, slots=True)
class Model:
    """What the inference pool serves now; see InferenceClient.get_model for several replicas."""

    checkpoint_key: str
    policy_version: int
    max_model_tokens: int
    running_requests: int
    waiting_requests: int


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed of rollouts as it stands."""

    num_prompts: int
    num_acknowledged: int
    policy_version: int


class InferenceClient(RoutedClient):
    """The policy, served by one replica or several. Calls under one `key`, by default the prompt, meet the same one.

    A tree never mixes policies: who passes the `policy_version` of its first answer gets answers of that version only.
    A replica that serves another refuses before it works, and the next is asked.
    """

    async def generate(
        self,
        prompt: Prompt,
        sampling: Sampling,
        min_policy_version: int = 0,
        *,
        key: str = "",
        policy_version: int = 0,
    ) -> Generation:
        """Draws `sampling.n` completions.

        Raises:
            StalePolicyError: every replica serves an older policy than asked for.
            OtherPolicyError: no replica serves the `policy_version` that was given.
        """
        request = generate_request(prompt, sampling, min_policy_version, policy_version)
        try:
            reply = await self._route(_generate, request, key or prompt.text, sampling.n)
        except StalePolicyError as error:
            raise (OtherPolicyError(str(error)) if policy_version else error) from error
        if policy_version and reply.policy_version != policy_version:
            raise OtherPolicyError(
                f"policy_version: {policy_version} was asked for and {reply.policy_version} answered; begin again"
            )
        return generation_from_proto(reply)

    async def score(self, prompt: str, continuations: Sequence[str], *, key: str = "") -> list[float]:
        """Summed log-probability in nats of each continuation after `prompt`."""
        request = inference_pb2.ScoreRequest(prompt=prompt, continuations=continuations)
        return list((await self._route(_score, request, key or prompt, len(continuations))).logprobs)

    async def load_weights(
        self, checkpoint_key: str, policy_version: int = 0, in_flight: InFlight | None = None
    ) -> tuple[int, float]:
        """Every replica serves the checkpoint under one version; 0 takes the next.

        `in_flight` says what becomes of running requests; None leaves it to each replica's settings.
        Returns (policy version, longest time in seconds that requests waited). Raises what a replica failed with,
        naming it; called again, all of them are brought to one version.
        """
        if not policy_version and self.num_replicas > 1:
            policy_version = _next_version(await self._call_all(_get_model, inference_pb2.GetModelRequest()))
        request = inference_pb2.LoadWeightsRequest(
            checkpoint_key=checkpoint_key, policy_version=policy_version, in_flight=in_flight_to_proto(in_flight)
        )
        replies = await self._call_all(_load_weights, request)
        versions = {address: reply.policy_version for address, reply in replies.items()}
        if len(set(versions.values())) > 1:
            raise ConflictError(f"policy_version: replicas were loaded by others meanwhile: {versions}; load again")
        return max(versions.values()), max(reply.gap_seconds for reply in replies.values())

    async def get_model(self) -> Model:
        """What all replicas serve now: the oldest version, and no checkpoint where they serve different ones."""
        models = (await self._call_all(_get_model, inference_pb2.GetModelRequest())).values()
        served = {(model.checkpoint_key, model.policy_version) for model in models}
        return Model(
            checkpoint_key=served.pop()[0] if len(served) == 1 else "",
            policy_version=min(model.policy_version for model in models),
            max_model_tokens=min(model.max_model_tokens for model in models),
            running_requests=sum(model.running_requests for model in models),
            waiting_requests=sum(model.waiting_requests for model in models),
        )


def _next_version(models: Mapping[str, inference_pb2.GetModelResponse]) -> int:
    """The version to load under: 0, each replica's own next, where all agree; else one that is new to all."""
    served = {(model.checkpoint_key, model.policy_version) for model in models.values()}
    return 0 if len(served) == 1 else max(version for _, version in served) + 1


def _generate(channel: grpc.aio.Channel) -> Callable[..., Awaitable[inference_pb2.GenerateResponse]]:
    return InferenceServiceStub(channel).Generate


def _score(channel: grpc.aio.Channel) -> Callable[..., Awaitable[inference_pb2.ScoreResponse]]:
    return InferenceServiceStub(channel).Score


def _load_weights(channel: grpc.aio.Channel) -> Callable[..., Awaitable[inference_pb2.LoadWeightsResponse]]:
    return InferenceServiceStub(channel).LoadWeights


def _get_model(channel: grpc.aio.Channel) -> Callable[..., Awaitable[inference_pb2.GetModelResponse]]:
    return InferenceServiceStub(channel).GetModel


class VerifierClient(ServiceClient):
    """The judge."""

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """One grade per (problem, completion), in order."""
        request = verifier_pb2.VerifyRequest(
            items=[verifier_pb2.VerifyItem(problem=problem_to_proto(problem), text=text) for problem, text in items]
        )
        response = await self._call(VerifierServiceStub(self._channel).Verify, request)
        return [grade_from_proto(grade) for grade in response.grades]


class SearchClient(ServiceClient):
    """Searches single problems while the caller looks on."""

    async def search(
        self, problem: Problem, settings_json: str = "", seed: int = 0
    ) -> AsyncIterator[search_pb2.SearchResponse]:
        """Progress after each iteration; the last message carries the tree."""
        request = search_pb2.SearchRequest(problem=problem_to_proto(problem), settings_json=settings_json, seed=seed)
        async for message in self._stream(SearchServiceStub(self._channel).Search, request):
            yield message


class RewriterClient(ServiceClient):
    """Walks and words from stored trees."""

    async def linearize(self, tree_key: str, settings_json: str = "") -> tuple[list[SearchTrace], dict[str, int]]:
        """(walks, how many were refused by which reason)."""
        request = rewriter_pb2.LinearizeRequest(tree_key=tree_key, settings_json=settings_json)
        response = await self._call(RewriterServiceStub(self._channel).Linearize, request)
        return [trace_from_proto(trace) for trace in response.traces], dict(response.rejected)

    async def rewrite(
        self, trace: SearchTrace, rewriter: Rewriter, settings_json: str = ""
    ) -> tuple[Solution, list[str]]:
        """(solution, invariants that refused attempts broke)."""
        request = rewriter_pb2.RewriteRequest(
            trace=trace_to_proto(trace), rewriter=rewriter_to_proto(rewriter), settings_json=settings_json
        )
        response = await self._call(RewriterServiceStub(self._channel).Rewrite, request)
        return solution_from_proto(response.solution), list(response.violations)


class RolloutsClient(ServiceClient):
    """Rollouts for a trainer, which is one `consumer` of each feed, under a name that it keeps over its restarts."""

    async def open_feed(
        self,
        feed: str,
        prompts_key: str,
        settings_json: str = "",
        *,
        consumer: str = "",
        lease_ids: Iterable[str] = (),
    ) -> Feed:
        """Creates the feed or joins it; what `consumer` had leased is handed back, but for `lease_ids`."""
        request = rollouts_pb2.OpenFeedRequest(
            feed=feed, prompts_key=prompts_key, settings_json=settings_json, consumer=consumer, lease_ids=lease_ids
        )
        response = await self._call(RolloutsServiceStub(self._channel).OpenFeed, request)
        return Feed(response.num_prompts, response.num_acknowledged, response.policy_version)

    async def pull(
        self,
        feed: str,
        num_groups: int,
        min_policy_version: int = 0,
        *,
        consumer: str = "",
        max_unacknowledged: int = 0,
        max_message_bytes: int = MESSAGE_BYTES,
    ) -> AsyncIterator[RolloutGroup]:
        """`num_groups` leased groups, as they become ready; fewer when the feed ends. After an error pull the rest.

        The stream pauses while `consumer` holds `max_unacknowledged` groups (0: never). Groups that are ready together
        travel together, in messages of at most `max_message_bytes`, or of one group.
        """
        request = rollouts_pb2.PullRolloutsRequest(
            feed=feed,
            num_groups=num_groups,
            min_policy_version=min_policy_version,
            consumer=consumer,
            max_unacknowledged=max_unacknowledged,
            max_message_bytes=max_message_bytes,
        )
        async for message in self._stream(RolloutsServiceStub(self._channel).PullRollouts, request):
            for group in message.groups or (message.group,):
                yield rollout_group_from_proto(group)

    async def ack(self, feed: str, lease_ids: Sequence[str], *, consumer: str = "") -> int:
        """The groups are used for good. Returns how many the feed has acknowledged in all."""
        request = rollouts_pb2.AckRolloutsRequest(feed=feed, lease_ids=lease_ids, consumer=consumer)
        return (await self._call(RolloutsServiceStub(self._channel).AckRollouts, request)).num_acknowledged

    async def ack_held(self, feed: str, lease_ids: Sequence[str], *, consumer: str = "") -> list[str]:
        """As `ack`, also where some leases are gone; returns these. One by one where all at once is refused."""
        gone: list[str] = []
        try:
            await self.ack(feed, lease_ids, consumer=consumer)
        except NotFoundError:
            for lease_id in lease_ids:
                try:
                    await self.ack(feed, [lease_id], consumer=consumer)
                except NotFoundError:
                    gone.append(lease_id)
        return gone

    async def publish_policy(
        self, feed: str, checkpoint_key: str, policy_version: int = 0, *, in_flight: InFlight | None = None
    ) -> tuple[int, float]:
        """Samples come from this checkpoint from now on. Returns (policy version, seconds requests waited).

        `in_flight` says what becomes of running requests; None leaves it to the inference service's settings.
        """
        request = rollouts_pb2.PublishPolicyRequest(
            feed=feed,
            checkpoint_key=checkpoint_key,
            policy_version=policy_version,
            in_flight=in_flight_to_proto(in_flight),
        )
        response = await self._call(RolloutsServiceStub(self._channel).PublishPolicy, request)
        return response.policy_version, response.gap_seconds


class TrainerClient(ServiceClient):
    """Runs and their stages."""

    async def create_run(self, run_id: str, recipe_yaml: str, by: str = "") -> run_pb2.Run:
        """Creates the run, or finds it. Raises ConflictError for another recipe under the same id.

        `by` is who asks, for the run's history; "" is this client's address.
        """
        request = trainer_pb2.CreateRunRequest(run_id=run_id, recipe_yaml=recipe_yaml, by=by)
        return (await self._call(TrainerServiceStub(self._channel).CreateRun, request)).run

    async def get_run(self, run_id: str) -> run_pb2.Run:
        """The run now. Raises NotFoundError."""
        request = trainer_pb2.GetRunRequest(run_id=run_id)
        return (await self._call(TrainerServiceStub(self._channel).GetRun, request)).run

    async def list_runs(self, state: run_pb2.RunState.ValueType = run_pb2.RUN_STATE_UNSPECIFIED) -> list[run_pb2.Run]:
        """All runs of the store in that state, newest first; unspecified: in any."""
        request = trainer_pb2.ListRunsRequest(state=state)
        return list((await self._call(TrainerServiceStub(self._channel).ListRuns, request)).runs)

    async def cancel_run(self, run_id: str, by: str = "") -> run_pb2.Run:
        """Stops the run where it is, and its jobs; its artifacts stay."""
        request = trainer_pb2.CancelRunRequest(run_id=run_id, by=by)
        return (await self._call(TrainerServiceStub(self._channel).CancelRun, request)).run

    async def watch_run(self, run_id: str) -> AsyncIterator[run_pb2.Run]:
        """The run now and after each change, until it ends."""
        request = trainer_pb2.WatchRunRequest(run_id=run_id)
        async for message in self._stream(TrainerServiceStub(self._channel).WatchRun, request):
            yield message.run

    async def run_history(self, run_id: str) -> list[run_pb2.RunEvent]:
        """All that happened to the run, in order. Raises NotFoundError."""
        request = trainer_pb2.GetRunHistoryRequest(run_id=run_id)
        return list((await self._call(TrainerServiceStub(self._channel).GetRunHistory, request)).events)

    async def run_report(self, run_id: str) -> dict[str, bytes]:
        """The files of its report by name. Raises NotFoundError for an unknown run, and for one without a report."""
        request = trainer_pb2.GetRunReportRequest(run_id=run_id)
        response = await self._call(TrainerServiceStub(self._channel).GetRunReport, request)
        return {"report.json": response.json, "report.html": response.html}
