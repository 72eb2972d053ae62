"""The RPCs: from message, call, to message."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from pydantic import ValidationError

from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import rollouts_service_pb2 as pb
from retrograde.v1.rollouts_service_pb2_grpc import RolloutsServiceServicer, add_RolloutsServiceServicer_to_server
from retrograde.wire.clients import InferenceClient
from retrograde.wire.convert_rollout import in_flight_from_proto
from services.rollouts.delivery import response
from services.rollouts.feeds import Feeds
from services.rollouts.metrics import SWAP_SECONDS
from services.rollouts.pulls import Pull
from services.rollouts.settings import FeedSettings

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


NAME = "retrograde.v1.RolloutsService"


class RolloutsServicer(RolloutsServiceServicer):
    """Feeds any trainer."""

    def __init__(self, feeds: Feeds, inference: InferenceClient) -> None:
        self._feeds = feeds
        self._inference = inference

    async def OpenFeed(self, request: pb.OpenFeedRequest, context: Context) -> pb.OpenFeedResponse:
        """Creates or finds the feed."""
        settings = _settings(request.settings_json)
        feed = await self._feeds.open(request.feed, request.prompts_key, settings, request.consumer, request.lease_ids)
        model = await self._inference.get_model()
        return pb.OpenFeedResponse(
            num_prompts=len(feed.maker.problems),
            num_acknowledged=feed.tickets.num_acknowledged,
            policy_version=model.policy_version,
        )

    async def PullRollouts(  # type: ignore[override]  # bytes: see `add_to_server`
        self, request: pb.PullRolloutsRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Streams leased groups in serialised responses."""
        if request.num_groups == 0:
            raise InvalidInputError("num_groups: 0 pulls nothing; ask for at least 1")
        feed = await self._feeds.get(request.feed)
        pull = Pull(
            request.num_groups,
            request.min_policy_version,
            request.consumer,
            request.max_unacknowledged,
            request.max_message_bytes,
        )
        async with contextlib.aclosing(feed.pull(pull)) as batches:
            async for batch in batches:
                yield response(batch)

    async def AckRollouts(self, request: pb.AckRolloutsRequest, context: Context) -> pb.AckRolloutsResponse:
        """The groups are used for good."""
        feed = await self._feeds.get(request.feed)
        num_acknowledged = await feed.acknowledge(request.lease_ids, request.consumer)
        return pb.AckRolloutsResponse(num_acknowledged=num_acknowledged)

    async def PublishPolicy(self, request: pb.PublishPolicyRequest, context: Context) -> pb.PublishPolicyResponse:
        """Loads the weights into the inference pool, and counts them as published."""
        feed = await self._feeds.get(request.feed)
        version, gap_seconds = await self._inference.load_weights(
            request.checkpoint_key, request.policy_version, in_flight_from_proto(request.in_flight)
        )
        SWAP_SECONDS.observe(gap_seconds)
        await feed.published(version)
        return pb.PublishPolicyResponse(policy_version=version, gap_seconds=gap_seconds)


def add_to_server(servicer: RolloutsServicer, server: grpc.aio.Server) -> None:
    """As the generated function does, but for PullRollouts, whose messages are serialised when they are made."""
    add_RolloutsServiceServicer_to_server(servicer, server)
    pull = grpc.unary_stream_rpc_method_handler(
        servicer.PullRollouts, request_deserializer=pb.PullRolloutsRequest.FromString
    )
    server.add_registered_method_handlers(NAME, {"PullRollouts": pull})  # type: ignore[attr-defined]  # not in the stubs


def _settings(text: str) -> FeedSettings:
    try:
        return FeedSettings.model_validate_json(text or "{}")
    except ValidationError as error:
        fault = error.errors()[0]
        path = ".".join(str(part) for part in fault["loc"])
        raise InvalidInputError(f"settings_json.{path}: {fault['msg']} (got {fault.get('input')!r})") from error
