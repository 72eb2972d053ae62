"""An event loop without time, threads or sockets: whose turn it is, and when, is drawn from one random generator.

    ready turns     one of them, any, is taken
    none is ready   time jumps to the next timer

A turn belongs to the process (`OWNER`) in whose context it was asked for. `admit` decides whether it is taken: the
turns of a killed process never are, those of a stalled one are kept by it. So a kill needs no co-operation: nothing of
the process runs any more, no `finally` either.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

OWNER: contextvars.ContextVar[Any] = contextvars.ContextVar("owner", default=None)


class OverError(BaseException):
    """The simulation is over."""


class Turn:
    """A callback that waits; what asyncio knows as a handle."""

    __slots__ = ("_when", "args", "callback", "context", "is_cancelled", "owner")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None, when: float
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.owner = self.context.get(OWNER)
        self.is_cancelled = False
        self._when = when

    def cancel(self) -> None:
        """It is not taken."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Whether it is not."""
        return self.is_cancelled

    def when(self) -> float:
        """Of a timer: when it is due."""
        return self._when


class SimulatedLoop(asyncio.AbstractEventLoop):
    """See the module; `step` takes one turn."""

    def __init__(self, rng: random.Random, admit: Callable[[Turn], bool]) -> None:
        self.num_steps = 0
        self.errors: list[dict[str, Any]] = []
        self._draw = rng.random
        self._admit = admit
        self._now = 0.0
        self._ready: list[Turn] = []
        self._timers: list[tuple[float, int, Turn]] = []
        self._numbers = itertools.count()
        self._tasks: list[tuple[asyncio.Task[Any], contextvars.Context]] = []
        self._is_over = False

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        turn = Turn(callback, args, context, self._now)
        if not self._is_over:
            self._ready.append(turn)
        return turn

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        turn = Turn(callback, args, context, when)
        heapq.heappush(self._timers, (when, next(self._numbers), turn))
        return turn

    def take_later(self, turn: Turn) -> None:
        """Makes a turn that `admit` had refused ready again."""
        self._ready.append(turn)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        context = contextvars.copy_context() if context is None else context
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append((task, context))  # not to be collected if its process is killed: that runs its `finally`
        return task

    def get_debug(self) -> bool:
        """Asked by every new future: once the simulation is over there are none, so that a `finally` cannot await."""
        if self._is_over:
            raise OverError
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._is_over

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_over:
            self.errors.append(context)

    def step(self) -> bool:
        """Takes one turn, after a jump in time if none is ready; False if nobody waits for anything any more."""
        self.num_steps += 1
        while not self._ready:
            if not self._timers:
                return False
            self._jump()
        index = int(self._draw() * len(self._ready))
        turn = self._ready[index]
        self._ready[index] = self._ready[-1]
        self._ready.pop()
        if not turn.is_cancelled and self._admit(turn):
            turn.context.run(turn.callback, *turn.args)
        return True

    def next_at(self) -> float:
        """When the next turn is taken."""
        while self._timers and self._timers[0][2].is_cancelled:
            heapq.heappop(self._timers)
        if self._ready:
            return self._now
        return self._timers[0][0] if self._timers else math.inf

    def _jump(self) -> None:
        when, _, turn = heapq.heappop(self._timers)
        if not turn.is_cancelled:
            self._now = max(self._now, when)
            self._ready.append(turn)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, this is the running loop; in the end tasks are dropped, and nothing they still say is heard."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=lambda _: None)
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            self._is_over = True
            for task, context in self._tasks:
                context.run(_drop, task)
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)


def _drop(task: asyncio.Task[Any]) -> None:
    """Ends what the task's coroutine awaits, and the coroutine."""
    chain: list[Any] = []
    awaited: Any = None if task.done() else task.get_coro()
    while awaited is not None and hasattr(awaited, "close"):
        chain.append(awaited)
        awaited = getattr(awaited, "cr_await", None)
    for each in reversed(chain):
        with contextlib.suppress(BaseException):  # what it says now, nobody hears
            each.close()
