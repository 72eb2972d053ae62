"""`retrograde run` around its services: following a run, ending with it, and not starting what is done."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from recipes_cli import write_recipe
from rich.console import Console

from retrograde.cli.backends import Backends, Choice
from retrograde.cli.run_folder import RunFolder, run_id_of
from retrograde.cli.running import Interrupts, RunFailedError, _follow, run_recipe, until_failure
from retrograde.cli.supervisor import ServiceFailedError, Supervisor
from retrograde.cli.topology import Topology
from retrograde.recipe.recipe import load_recipe
from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.v1 import run_pb2
from retrograde.v1 import trainer_service_pb2 as pb
from retrograde.v1.trainer_service_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server


class ScriptedTrainer(TrainerServiceServicer):
    """Streams the states it was given, one list per watch; UNAVAILABLE in a list ends that watch so."""

    def __init__(self, *watches: list[int | grpc.StatusCode]) -> None:
        self.watches = list(watches)
        self.created: list[str] = []

    async def CreateRun(self, request: pb.CreateRunRequest, context: grpc.aio.ServicerContext) -> pb.CreateRunResponse:
        self.created.append(request.recipe_yaml)
        return pb.CreateRunResponse(run=run_pb2.Run(id=request.run_id))

    async def WatchRun(
        self, request: pb.WatchRunRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.WatchRunResponse]:
        for state in self.watches.pop(0):
            if isinstance(state, grpc.StatusCode):
                await context.abort(state, "away")
            yield pb.WatchRunResponse(run=run_pb2.Run(id=request.run_id, state=state, error="no disk"))


async def follow(trainer: ScriptedTrainer, tmp_path: Path) -> None:
    """Follows a run at `trainer`."""
    server = grpc.aio.server()
    add_TrainerServiceServicer_to_server(trainer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        recipe = load_recipe(write_recipe(tmp_path))
        await _follow(f"127.0.0.1:{port}", recipe, "tiny", Console(file=io.StringIO()))
    finally:
        await server.stop(None)


async def test_a_trainer_that_goes_away_is_found_again(tmp_path: Path) -> None:
    """A watch that breaks is taken up again, with the same recipe, until the run has ended well."""
    trainer = ScriptedTrainer(
        [run_pb2.RUN_STATE_RUNNING, grpc.StatusCode.UNAVAILABLE],
        [],
        [run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_SUCCEEDED],
    )
    await follow(trainer, tmp_path)
    assert len(trainer.created) == 3
    assert len(set(trainer.created)) == 1


async def test_a_failed_run_fails_the_command_with_its_reason(tmp_path: Path) -> None:
    """The trainer's reason is the command's."""
    with pytest.raises(RunFailedError, match="run tiny: no disk"):
        await follow(ScriptedTrainer([run_pb2.RUN_STATE_FAILED]), tmp_path)


async def test_a_run_that_is_done_starts_nothing(tmp_path: Path) -> None:
    """The same command after a finished run brings its outputs back, without a service."""
    recipe, folder = load_recipe(write_recipe(tmp_path)), RunFolder.at(tmp_path / "out")
    run_id = folder.claim(recipe)
    store = DirectoryStore(folder.path / "store")
    done = run_pb2.Run(id=run_id, state=run_pb2.RUN_STATE_SUCCEEDED)
    store.put(f"runs/{run_id}/run.pb", done.SerializeToString())
    store.put(f"runs/{run_id}/report.json", b"{}")
    assert await run_recipe(recipe, folder, run_id_of(recipe), Choice(), Console(file=io.StringIO())) == 0
    assert (folder.path / "report.json").read_bytes() == b"{}"
    assert not (folder.path / "services").exists()


async def test_a_service_given_up_ends_the_work(tmp_path: Path) -> None:
    """The supervisor's failure is raised although the work would wait for ever, and the work is cancelled."""
    supervisor = Supervisor(Topology(tmp_path, Backends.within(tmp_path), "/none", 64))
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    asyncio.get_running_loop().call_later(0.05, supervisor.failure.set_exception, ServiceFailedError("search fell"))
    with pytest.raises(ServiceFailedError, match="search fell"):
        await until_failure(supervisor, work())
    assert cancelled.is_set()


async def test_the_first_interrupt_cancels_and_the_second_kills() -> None:
    """Ctrl-C once stops the work in order; twice calls what ends it at once."""
    killed: list[int] = []
    interrupts = Interrupts(at_once=lambda: killed.append(1))
    with interrupts.caught():
        interrupts.work = work = asyncio.create_task(asyncio.Event().wait())
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(asyncio.CancelledError):
            await work
        assert killed == []
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.05)
    assert killed == [1]
