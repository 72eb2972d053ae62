"""Simulated processes, and what befalls them: kills, stalls, and calls in threads that are made when it pleases.

A process is a main coroutine that is begun again, as another incarnation, whenever it was killed or ended by itself.
What it does in threads (`retrograde.runtime.blocking`) is done in turns of nobody: a request may still reach a server
whose sender is dead, and others may take turns in the midst of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from retrograde.runtime import tracing
from retrograde.runtime.blocking import calls_made_by
from retrograde.runtime.errors import RetrogradeError, UnavailableError
from tests.simulation.clock import OWNER, SimulatedLoop, Turn
from tests.simulation.weather import CALM, FAILURES, KILLS, NUM_DONE, Blow, Fate, Weather

SESSION_SECONDS = 2.0
CALL_SECONDS = 0.02
RESTART_SECONDS = 0.5
STALL_SECONDS = (0.5, 8.0)
OUTAGE_SECONDS = (0.5, 6.0)
LATE_SECONDS = 3.0
MOST_NESTED = 2


class Event(NamedTuple):
    """Something a port did, or that befell a process."""

    at: float
    who: str
    what: str
    key: str
    detail: Any = None
    cause: str = ""  # the request id of the message being handled


class KilledError(BaseException):
    """The process whose call this is was killed in the midst of it."""


@dataclass(eq=False)
class Incarnation:
    """One life of a process."""

    name: str
    main: Callable[[Incarnation], Awaitable[None]]
    number: int = 0
    is_alive: bool = True
    parked: list[Turn] | None = None  # its turns while it is stalled
    drain: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return f"{self.name}.{self.number}"


class World:
    """The loop, the processes, and the weather; `history` is all that happened."""

    def __init__(self, rng: random.Random, weather: Weather) -> None:
        self.rng = rng
        self.weather = weather
        self.loop = SimulatedLoop(rng, self._admit)
        self.history: list[Event] = []
        self.processes: dict[str, Incarnation] = {}
        self.on_silence: Callable[[Incarnation], None] = lambda _: None  # it has not been heard of for a session
        self.on_expiry: Callable[[], None] = lambda: None
        self.calm_since: float | None = None
        self.is_draining = False  # every process is told to leave
        self.blocked_seconds = 0.0  # how long the call being made waited for something to come
        self._plan = list(weather.plan)
        self._away_until = {"store": 0.0, "broker": 0.0}
        self._nested = 0

    # What happens in turns

    def note(self, who: str, what: str, key: str, detail: Any = None) -> None:
        """Adds to the history."""
        trace = tracing._current.get()
        self.history.append(Event(self.loop.time(), who, what, key, detail, trace.request_id if trace else ""))

    def step(self) -> bool:
        """One turn, with what the weather has for this moment; False if there is none any more."""
        is_going_on = self.loop.step()
        if self.calm_since is None:
            self._change_weather()
        return is_going_on

    def _change_weather(self) -> None:
        while self._plan and self._plan[-1][0] <= self.loop.num_steps:
            self._strike(self._plan.pop()[1])
        if self.loop.num_steps >= self.weather.num_rough_steps:
            self.calm_since = self.loop.time()
            self.weather = CALM
            self._away_until = {"store": 0.0, "broker": 0.0}
            self.note("", "calm", "")

    def _strike(self, blow: Blow) -> None:
        alive = [each for each in self.processes.values() if each.is_alive and not each.ended]
        seconds = self.rng.uniform(*OUTAGE_SECONDS)
        match blow:
            case Blow.KILL if alive:
                self.kill(self.rng.choice(alive))
            case Blow.STALL if alive:
                self.stall(self.rng.choice(alive))
            case Blow.EXPIRE:
                self.on_expiry()
            case Blow.NO_STORE | Blow.NO_BROKER:
                target = blow.value.removeprefix("no ")
                self._away_until[target] = self.loop.time() + seconds
                self.note("", blow.value, "", round(seconds, 3))
            case _:
                pass

    def _admit(self, turn: Turn) -> bool:
        owner = turn.owner
        if owner is None:
            return True
        if owner.parked is not None:
            owner.parked.append(turn)
            return False
        return bool(owner.is_alive)

    # Processes

    def begin(self, name: str, main: Callable[[Incarnation], Awaitable[None]]) -> None:
        """Starts a process that is started again whenever it ends."""
        self._start(Incarnation(name, main))

    def drain(self) -> None:
        """SIGTERM to every process, and to those begun from now on."""
        self.is_draining = True
        for life in self.processes.values():
            life.drain.set()

    def _start(self, incarnation: Incarnation) -> None:
        self.processes[incarnation.name] = incarnation
        if self.is_draining:
            incarnation.drain.set()
        context = contextvars.Context()
        context.run(OWNER.set, incarnation)
        incarnation.task = context.run(self._task, incarnation)
        incarnation.task.add_done_callback(lambda task: self._ended(incarnation, task), context=contextvars.Context())
        self.note(incarnation.id, "started", "")

    def _task(self, incarnation: Incarnation) -> asyncio.Task[None]:
        async def main() -> None:
            with calls_made_by(self._runner):
                await incarnation.main(incarnation)

        return self.loop.create_task(main())

    def _ended(self, incarnation: Incarnation, task: asyncio.Task[None]) -> None:
        incarnation.ended = True
        error = None if task.cancelled() else task.exception()
        self.note(incarnation.id, "ended", type(error).__name__ if error else "", str(error) if error else None)
        if error is not None and not isinstance(error, RetrogradeError):
            self.loop.errors.append({"message": f"{incarnation.id} ended with {error!r}", "exception": error})
        if error is not None:
            self._again(incarnation)

    def _again(self, incarnation: Incarnation) -> None:
        """Its memberships run out, and another life begins."""
        incarnation.is_alive = False
        empty = contextvars.Context()
        self.loop.call_later(SESSION_SECONDS, self.on_silence, incarnation, context=empty)
        following = Incarnation(incarnation.name, incarnation.main, incarnation.number + 1)
        pause = RESTART_SECONDS * 4 * self.rng.random()
        self.loop.call_later(pause, self._start, following, context=empty)

    def kill(self, incarnation: Incarnation) -> None:
        """As SIGKILL would: it takes no turn any more."""
        incarnation.parked = None
        self.note(incarnation.id, "killed", "")
        self._again(incarnation)

    def stall(self, incarnation: Incarnation) -> None:
        """It takes no turn for a while; what it is given meanwhile it takes when it wakes."""
        if incarnation.parked is not None:
            return
        seconds = self.rng.uniform(*STALL_SECONDS)
        self.note(incarnation.id, "stalled", "", round(seconds, 3))
        incarnation.parked = []
        empty = contextvars.Context()
        self.loop.call_later(seconds, self._wake, incarnation, context=empty)
        if seconds > SESSION_SECONDS:
            self.loop.call_later(SESSION_SECONDS, self.on_silence, incarnation, context=empty)

    def _wake(self, incarnation: Incarnation) -> None:
        if incarnation.parked is None or not incarnation.is_alive:
            return
        self.note(incarnation.id, "awake", "")
        parked, incarnation.parked = incarnation.parked, None
        for turn in parked:
            self.loop.take_later(turn)

    # Calls in threads

    def seconds(self) -> float:
        """How long a message takes through the network."""
        return self.rng.random() * CALL_SECONDS * (self.weather.slowness if self.calm_since is None else 1.0)

    async def _runner(self, call: Callable[[], Any]) -> Any:
        answer: asyncio.Future[Any] = self.loop.create_future()
        context = contextvars.copy_context()
        owner = context.run(OWNER.get)
        self.loop.call_later(self.seconds(), self._make, owner, call, context, answer, context=contextvars.Context())
        return await answer

    def _make(
        self, owner: Incarnation, call: Callable[[], Any], context: contextvars.Context, answer: asyncio.Future[Any]
    ) -> None:
        """Makes the call and sends its result on the way back."""
        self.blocked_seconds = 0.0
        result: Any = None
        error: Exception | None = None
        try:
            result = context.run(call)
        except KilledError:
            return
        except Exception as raised:  # noqa: BLE001 - whoever asked deals with it
            error = raised
        delay = self.seconds() + self.blocked_seconds
        self.loop.call_later(delay, _answer, answer, result, error, context=contextvars.Context())

    def arrive(self, owner: Incarnation, target: str) -> None:
        """A call of `owner` reaches a server. Raises KilledError or UnavailableError if it does not."""
        if self._nested < MOST_NESTED and self.weather.interleaved and self.rng.random() < self.weather.interleaved:
            self._let_others()
        if owner.parked is not None and self.rng.random() < 0.5:  # else it had left the process before
            self._wait_out(owner)
        if not owner.is_alive and self.rng.random() < 0.5:
            raise KilledError
        if self.loop.time() < self._away_until[target]:
            raise UnavailableError(f"{target}: away")

    def _let_others(self) -> None:
        """Others take turns first, unless nobody would for long."""
        self._nested += 1
        latest = self.loop.time() + LATE_SECONDS
        for _ in range(self.rng.randrange(20)):
            if self.loop.next_at() <= latest:
                self.step()
        self._nested -= 1

    def _wait_out(self, owner: Incarnation) -> None:
        """The thread is stalled with its process, or killed with it."""
        while owner.parked is not None:
            self.step()
        if not owner.is_alive:
            raise KilledError

    def ask(self, owner: Incarnation, target: str) -> None:
        """A call that reads: it may get no answer."""
        self.arrive(owner, target)
        if self.weather.lost_reads and self.rng.random() < self.weather.lost_reads:
            raise UnavailableError(f"{target}: no answer")

    def change(self, owner: Incarnation, target: str, do: Callable[[], None], spared: frozenset[Fate]) -> None:
        """A call that changes something: `do`, as fate has it; `spared` it are fates that cannot happen to it."""
        self.arrive(owner, target)
        fate = self.weather.fate(self.rng)
        if fate in spared:
            fate = Fate.DONE
        if fate is Fate.STALLED_BEFORE:
            self._stall_living(owner)
            self._wait_out(owner)
        for _ in range(NUM_DONE.get(fate, 1)):
            do()
        if fate is Fate.LATE:
            self.loop.call_later(self.rng.random() * LATE_SECONDS, do, context=contextvars.Context())
        if fate is Fate.STALLED_AFTER:
            self._stall_living(owner)
        if fate in KILLS:
            self._kill_living(owner)
            raise KilledError
        if fate in FAILURES:
            raise UnavailableError(f"{target}: {fate.value}")

    def _kill_living(self, owner: Incarnation) -> None:
        if owner.is_alive:
            self.kill(owner)

    def _stall_living(self, owner: Incarnation) -> None:
        if owner.is_alive and not owner.ended:
            self.stall(owner)


def _answer(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
