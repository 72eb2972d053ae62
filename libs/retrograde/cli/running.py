"""`retrograde run`: the services as children, the run at the trainer, its progress on the terminal, its outputs here.

Three things can end it: the run ends, a service is given up, or the user presses Ctrl-C. The first Ctrl-C drains the
services (their work is handed back or stored), the second kills them; either way the same command goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

import yaml
from rich.console import Console

from retrograde.cli.backends import Backends, Choice, running_broker, running_store
from retrograde.cli.progress import RunProgress
from retrograde.cli.run_folder import RunFolder
from retrograde.cli.supervisor import Supervisor
from retrograde.cli.topology import Topology
from retrograde.recipe.recipe import Recipe
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import NotFoundError, RetrogradeError, UnavailableError
from retrograde.v1 import run_pb2
from retrograde.wire.clients import TrainerClient

INTERRUPTED_STATUS = 130
_AGAIN_SECONDS = 1.0


class RunFailedError(RetrogradeError):
    """The run ended badly; the message is the trainer's."""


@dataclass(slots=True)
class Interrupts:
    """Ctrl-C and SIGTERM while the block runs: the first cancels the work, every later one calls `at_once`."""

    work: asyncio.Task[object] | None = None
    at_once: Callable[[], None] = lambda: None
    count: int = 0
    _signals: tuple[signal.Signals, ...] = field(default=(signal.SIGINT, signal.SIGTERM))

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Installs the handlers, and removes them."""
        loop = asyncio.get_running_loop()
        for each in self._signals:
            loop.add_signal_handler(each, self._on_signal)
        try:
            yield
        finally:
            for each in self._signals:
                loop.remove_signal_handler(each)

    def _on_signal(self) -> None:
        self.count += 1
        if self.count == 1 and self.work is not None:
            self.work.cancel()
        else:
            self.at_once()


async def run_recipe(
    recipe: Recipe,
    folder: RunFolder,
    run_id: str,
    choice: Choice,
    console: Console,
    port_base: int = 0,
    tracking: Mapping[str, str] | None = None,
) -> int:
    """Runs or continues the run; returns the exit status. Raises what made it fail."""
    with running_store(folder.path, choice) as store:
        if await asyncio.to_thread(_is_done, store, run_id):
            await _bring_back(store, folder, run_id, console)
            return 0
        with running_broker(folder.path, choice) as broker:
            topology = topology_of(recipe, folder, Backends(broker, store), tracking or {})
            supervisor = Supervisor(topology, port_base, lambda line: console.print(line, highlight=False))
            return await _run(supervisor, recipe, folder, run_id, console)


async def _run(supervisor: Supervisor, recipe: Recipe, folder: RunFolder, run_id: str, console: Console) -> int:
    interrupts = Interrupts(at_once=supervisor.kill)
    with interrupts.caught():
        work = asyncio.create_task(_work(supervisor, recipe, folder, run_id, console))
        interrupts.work = work
        try:
            await work
        except asyncio.CancelledError:
            if not interrupts.count:
                raise
            console.print(f"stopped; the same command continues {run_id}", highlight=False)
            return INTERRUPTED_STATUS
    return 0


def topology_of(recipe: Recipe, folder: RunFolder, backends: Backends, tracking: Mapping[str, str]) -> Topology:
    """All services, serving the recipe's policy; `tracking` is the trainer's setting of that name."""
    policy = recipe.policy
    return Topology(folder.path, backends, policy.checkpoint, policy.max_model_tokens, recipe.task, tracking=tracking)


async def _work(supervisor: Supervisor, recipe: Recipe, folder: RunFolder, run_id: str, console: Console) -> None:
    console.print(f"run {run_id} in {folder.path}: starting the services", highlight=False, soft_wrap=True)
    async with supervisor:
        await until_failure(supervisor, _follow(supervisor.addresses["trainer"], recipe, run_id, console))
        await _bring_back(supervisor.topology.backends.store, folder, run_id, console)


async def _bring_back(store: str, folder: RunFolder, run_id: str, console: Console) -> None:
    console.print(f"run {run_id} is done:", highlight=False)
    for path in await asyncio.to_thread(folder.bring_back, open_store(store), run_id):
        console.print(f"  {path}", highlight=False, soft_wrap=True)


def _is_done(store: str, run_id: str) -> bool:
    """Whether an earlier command ended this run well: then nothing needs to be started."""
    try:
        run = run_pb2.Run.FromString(open_store(store).get(f"runs/{run_id}/run.pb"))
    except NotFoundError:
        return False
    return run.state == run_pb2.RUN_STATE_SUCCEEDED


async def until_failure(supervisor: Supervisor, work: Awaitable[None]) -> None:
    """Awaits `work`; raises the supervisor's failure instead if that comes first."""
    task = asyncio.ensure_future(work)
    both: set[asyncio.Future[None]] = {task, supervisor.failure}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if task.cancelled() or (supervisor.failure.done() and task.exception() is not None):
        supervisor.failure.result()
    task.result()


async def _follow(address: str, recipe: Recipe, run_id: str, console: Console) -> None:
    """Creates or finds the run and shows it until it ends; a trainer that restarts is found again."""
    recipe_yaml = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    async with TrainerClient(address) as trainer:
        with RunProgress(console) as progress:
            await trainer.create_run(run_id, recipe_yaml, by=getpass.getuser())
            while not await shown_to_its_end(trainer, run_id, progress):
                await asyncio.sleep(_AGAIN_SECONDS)
                await trainer.create_run(run_id, recipe_yaml, by=getpass.getuser())


async def shown_to_its_end(trainer: TrainerClient, run_id: str, progress: RunProgress) -> bool:
    """Shows the run until it has succeeded; False when the trainer left before. Raises RunFailedError."""
    try:
        async for run in trainer.watch_run(run_id):
            progress.show(run)
            if run.state == run_pb2.RUN_STATE_SUCCEEDED:
                return True
            if run.state in (run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED):
                raise RunFailedError(f"run {run_id}: {run.error or 'cancelled'}")
    except UnavailableError:
        pass
    return False
