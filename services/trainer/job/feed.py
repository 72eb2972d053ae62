"""Where GRPO's groups come from: the rollouts service in production, a script in tests.

One thread of the job may wait for groups while another publishes and acknowledges.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.logs import get_logger
from retrograde.runtime.tls import Identity
from retrograde.wire.clients import RolloutsClient
from retrograde.wire.feed_consumer import FeedConsumer
from retrograde.wire.feed_thread import FeedThread
from services.trainer.job.settings import GrpoJobSettings

log = get_logger(__name__)


class RolloutSource(Protocol):
    """One feed of graded groups, as the trainer sees it. One thread pulls, another may call the rest meanwhile."""

    def open(self) -> None:
        """Creates the feed or finds it again; what an earlier life of this trainer had leased is handed back."""

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """Waits for `num_groups` leased groups sampled under that policy or a newer one; fewer when the feed ends."""

    def ack(self, lease_ids: Sequence[str]) -> None:
        """These groups are used for good. Leases that are gone are fine."""

    def publish(self, checkpoint_key: str) -> int:
        """From now on samples come from this checkpoint; returns its policy version."""

    def interrupt(self) -> None:
        """Ends a pull in progress, which raises; no later one succeeds."""


class GrpcFeed:
    """RolloutSource over gRPC. A context manager."""

    def __init__(self, settings: GrpoJobSettings) -> None:
        self._settings = settings
        self._thread = FeedThread(self._connect)

    def __enter__(self) -> Self:
        self._thread.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.__exit__(kind, error, trace)

    def open(self) -> None:
        """See RolloutSource."""
        rl = self._settings.rl
        sampling = {"group_size": rl.group_size, "temperature": rl.temperature, "max_tokens": rl.max_tokens}
        described = {**sampling, "seed": self._settings.seed, "lease_seconds": rl.lease_seconds}
        self._thread.run(self._thread.consumer.open(self._settings.prompts_key, json.dumps(described)))

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """See RolloutSource."""
        return self._thread.soon(self._thread.consumer.pull(num_groups, min_policy_version)).result()

    def ack(self, lease_ids: Sequence[str]) -> None:
        """See RolloutSource."""
        if lease_ids:
            self._thread.run(self._thread.consumer.ack(lease_ids))

    def publish(self, checkpoint_key: str) -> int:
        """See RolloutSource."""
        version, gap_seconds = self._thread.run(self._thread.consumer.publish(checkpoint_key))
        log.info("policy published", checkpoint_key=checkpoint_key, policy_version=version, gap_seconds=gap_seconds)
        return version

    def interrupt(self) -> None:
        """See RolloutSource."""
        self._thread.interrupt()

    def _connect(self) -> FeedConsumer:
        settings = self._settings
        client = RolloutsClient(
            settings.rollouts,
            identity=Identity.of(settings.tls) if settings.tls else None,
            patience_seconds=settings.patience_seconds,
            deadline_seconds=settings.rl.publish_seconds,
        )
        return FeedConsumer(client, settings.feed, patience_seconds=settings.patience_seconds)
