"""What is served, under which version, and how it is replaced while requests run.

    prepare     fetch and check; requests run on
    drain       the gate is closed: running requests finish, or are interrupted, or stay (InFlight)
    stop        no token is drawn: load the tensors, drop the prefix cache
    publish     still stopped: what a restarted service will serve, known to be loadable and not yet answered with
    go on       the version changes, the gate opens

A version stands for one set of weights for ever: versions only rise, and older weights come back under a new one. When
loading or publishing fails the old weights are loaded again, under their own version; when that fails too, nothing is
answered any more and the service ends. A swap, once begun, is carried through whatever becomes of its caller.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from retrograde.core.policy import InFlight
from retrograde.runtime.errors import ConflictError, InvalidInputError
from retrograde.runtime.logs import get_logger
from services.inference import metrics
from services.inference.gate import Gate
from services.inference.weights import Served

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from services.inference.transport import Weights, WeightTransport

log = get_logger(__name__)


class Loader(Protocol):
    """What is asked of the engine here; see engine.Engine."""

    def stopped(self, *, keep: bool) -> AbstractAsyncContextManager[None]:
        """Inside, no token is drawn; nor afterwards, if it was given up."""

    async def load(self, weights: Weights) -> None:
        """Puts them in place of the served ones."""

    def give_up(self, reason: str) -> None:
        """Answers nothing any more."""


class Record(Protocol):
    """What outlives the process. Calls block."""

    def publish(self, served: Served) -> None:
        """A restarted service serves this."""


@dataclass(frozen=True, slots=True)
class Current:
    """What is served."""

    served: Served
    weights: Weights


@dataclass(frozen=True, slots=True)
class Swap:
    """The version served now; seconds in which new requests waited, and of these in which no token was drawn."""

    policy_version: int
    gap_seconds: float = 0.0
    stopped_seconds: float = 0.0


class Swaps:
    """See the module; `in_flight` is what is done when a caller does not say."""

    def __init__(
        self, engine: Loader, transport: WeightTransport, record: Record, current: Current, in_flight: InFlight
    ) -> None:
        self.gate = Gate()
        self._engine = engine
        self._transport = transport
        self._record = record
        self._current = current
        self._in_flight = in_flight
        self._one_by_one = asyncio.Lock()
        self._under_way: set[asyncio.Task[Swap]] = set()
        metrics.POLICY_VERSION.set_function(lambda: self.served.policy_version)

    @property
    def served(self) -> Served:
        """Now."""
        return self._current.served

    async def load_weights(
        self, checkpoint_key: str, policy_version: int = 0, in_flight: InFlight | None = None
    ) -> Swap:
        """Serves the checkpoint under `policy_version` (0: the next).

        Asking again for what is served already does nothing, and nobody waits.

        Raises:
            InvalidInputError: no such checkpoint, or not one of this model; what is served stays.
            ConflictError: the version is not newer than the one served.
        """
        if not checkpoint_key:
            raise InvalidInputError("checkpoint_key: it is empty; name a checkpoint of the store")
        task = asyncio.create_task(self._load_weights(checkpoint_key, policy_version, in_flight or self._in_flight))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _load_weights(self, checkpoint_key: str, policy_version: int, in_flight: InFlight) -> Swap:
        async with self._one_by_one:
            began = time.perf_counter()
            weights = await asyncio.to_thread(self._transport.prepare, checkpoint_key)
            metrics.WEIGHT_SWAP_SECONDS.labels("prepare").observe(time.perf_counter() - began)
            served = Served(checkpoint_key, policy_version or self.served.policy_version + 1, weights.digest)
            if self._serves_already(served, policy_version):
                return Swap(self.served.policy_version)
            if served.policy_version <= self.served.policy_version:
                raise ConflictError(
                    f"policy_version: {served.policy_version} is not newer than {self.served.policy_version}, which "
                    "serves another checkpoint; send 0 for the next"
                )
            swap = await self._swap(Current(served, weights), in_flight)
            await asyncio.to_thread(self._transport.settle, weights)
            return swap

    def _serves_already(self, wanted: Served, asked_version: int) -> bool:
        same = (wanted.checkpoint_key, wanted.digest) == (self.served.checkpoint_key, self.served.digest)
        return same and asked_version in (0, self.served.policy_version)

    async def _swap(self, new: Current, in_flight: InFlight) -> Swap:
        closed = time.perf_counter()
        async with self.gate.closed(in_flight):
            async with self._engine.stopped(keep=in_flight is InFlight.CONTINUE):
                stopped = time.perf_counter()
                await self._load(new)
            done = time.perf_counter()
        metrics.WEIGHT_SWAP_SECONDS.labels("drain").observe(stopped - closed)
        metrics.WEIGHT_SWAP_SECONDS.labels("stop").observe(done - stopped)
        log.info(
            "weights swapped",
            policy_version=new.served.policy_version,
            checkpoint_key=new.served.checkpoint_key,
            drain_seconds=round(stopped - closed, 4),
            stopped_seconds=round(done - stopped, 4),
        )
        return Swap(new.served.policy_version, done - closed, done - stopped)

    async def _load(self, new: Current) -> None:
        """Loads and publishes the new weights; when either fails, loads the old ones again, and raises what failed."""
        try:
            await self._engine.load(new.weights)
            await asyncio.to_thread(self._record.publish, new.served)
        except Exception:
            log.exception("weights not swapped; going back", checkpoint_key=new.served.checkpoint_key)
            await self._go_back()
            raise
        self._current = new

    async def _go_back(self) -> None:
        try:
            await self._engine.load(self._current.weights)
        except Exception:
            self._engine.give_up("new weights could not be loaded, and the old ones not again")
            raise
