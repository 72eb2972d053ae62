"""Every step reaches the store, TensorBoard, and the trackers that were asked for."""

from __future__ import annotations

import contextlib
import importlib.machinery
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retrograde.runtime.errors import InvalidInputError, UnavailableError
from services.trainer.job.metrics import StepMetrics
from services.trainer.job.settings import JobSettings
from services.trainer.job.trackers import Step, TensorBoard
from services.trainer.tracking import TrackingSettings, require_installed
from tests.unit.search.search_fakes import MemoryStore

BOARD = "runs/r/jobs/astro_rl/tensorboard/"


def settings(folder: Path, **tracking: str) -> JobSettings:
    return JobSettings(
        store="file:///nowhere",
        init_checkpoint="runs/r/checkpoints/base",
        output_key="runs/r/checkpoints/astro_rl",
        job_key="runs/r/jobs/astro_rl",
        work_dir=folder,
        tracking=TrackingSettings(**tracking),
    )


def curve(store: MemoryStore, folder: Path, name: str) -> list[tuple[int, float]]:
    """What TensorBoard reads of the stored files."""
    folder.mkdir(exist_ok=True)
    for key in store.list(BOARD):
        (folder / key.rpartition("/")[2]).write_bytes(store.get(key))
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


class Module(ModuleType):
    """A package that was installed."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, self)


class FakeWandb(Module):
    """Keeps what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__("wandb", monkeypatch)
        self.asked: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.exit_code: int | None = None
        self.fault: Exception | None = None

    def init(self, **asked: Any) -> FakeWandb:
        if self.fault:
            raise self.fault
        self.asked = asked
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        if self.fault:
            raise self.fault
        self.logged.append((step, values))

    def finish(self, exit_code: int) -> None:
        if self.fault:
            raise self.fault
        self.exit_code = exit_code


class FakeMlflow(Module):
    """Keeps what it is told; `runs` by id, with (experiment, name, status) and their points."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__("mlflow", monkeypatch)
        self.entities = SimpleNamespace(Metric=lambda *values: values)
        self.uri = ""
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, list[str]] = {}
        self.points: list[tuple[str, str, float, int]] = []

    def MlflowClient(self, tracking_uri: str) -> FakeMlflow:
        self.uri = tracking_uri
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, f"experiment {name}")

    def create_run(self, experiment_id: str, run_name: str) -> Any:
        run_id = f"id {len(self.runs)}"
        self.runs[run_id] = [experiment_id, run_name, "RUNNING"]
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def log_batch(self, run_id: str, metrics: list[tuple[str, float, int, int]]) -> None:
        self.points += [(run_id, name, value, step) for name, value, _, step in metrics]

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id][2] = status


def life(store: MemoryStore, of: JobSettings, *steps: int, reward: float = 0.5) -> None:
    """A job that takes these steps."""
    with StepMetrics(store, of) as metrics:
        for step in steps:
            metrics.write(step, {"reward": reward, "completions/mean_length": 10.0 * step})


def test_tensorboard_is_always_told(tmp_path: Path) -> None:
    """Without any setting: its files lie beside the steps, with the same values."""
    store = MemoryStore()
    life(store, settings(tmp_path / "work"), 1, 2)
    assert curve(store, tmp_path / "read", "completions/mean_length") == [(1, 10.0), (2, 20.0)]
    assert json.loads(store.get("runs/r/jobs/astro_rl/steps/000002.json"))["completions/mean_length"] == 20.0


def test_a_resumed_job_has_each_step_once(tmp_path: Path) -> None:
    """Steps done again replace those of the life that was killed, also where the scratch folder is lost."""
    store = MemoryStore()
    life(store, settings(tmp_path / "one"), 1, 2, 3, reward=0.25)
    life(store, settings(tmp_path / "two"), 2, 3, 4, reward=0.75)
    assert curve(store, tmp_path / "read", "reward") == [(1, 0.25), (2, 0.75), (3, 0.75), (4, 0.75)]


def test_curves_are_stored_while_the_job_works(tmp_path: Path) -> None:
    """Every half minute, so that a job that is killed loses no more than that."""
    store, now = MemoryStore(), [0.0]
    board = TensorBoard(store, "runs/r/jobs/astro_rl", tmp_path / "work", clock=lambda: now[0])
    board.log(Step(1, {"loss": 2.0}, 0.0))
    assert list(store.list(BOARD)) == []
    now[0] = 31.0
    board.log(Step(2, {"loss": 1.0}, 1.0))
    stored = curve(store, tmp_path / "read", "loss")
    board.close(failed=False)
    assert stored == [(1, 2.0), (2, 1.0)]


def test_other_ranks_tell_nobody(tmp_path: Path) -> None:
    """One rank writes what all of them share."""
    store = MemoryStore()
    with StepMetrics(store, settings(tmp_path), writes=False) as metrics:
        metrics.write(1, {"loss": 1.0})
    assert store.objects == {}


def test_wandb_is_told_where_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of the project for each job, which a later life continues under its id; the end says how it went."""
    wandb, store = FakeWandb(monkeypatch), MemoryStore()
    of = settings(tmp_path, wandb_project="astro")
    life(store, of, 1)
    assert (wandb.asked["project"], wandb.asked["id"], wandb.asked["resume"]) == ("astro", "r-astro_rl", "allow")
    assert (wandb.logged, wandb.exit_code) == ([(1, {"reward": 0.5, "completions/mean_length": 10.0})], 0)
    life(store, of, 2)
    assert (wandb.asked["id"], [step for step, _ in wandb.logged]) == ("r-astro_rl", [1, 2])


def test_wandb_learns_that_a_job_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault after the first step is the exit code of its run."""
    wandb = FakeWandb(monkeypatch)
    with contextlib.suppress(KeyError), StepMetrics(MemoryStore(), settings(tmp_path, wandb_project="astro")) as told:
        told.write(1, {"reward": 1.0})
        raise KeyError
    assert (wandb.logged, wandb.exit_code) == ([(1, {"reward": 1.0})], 1)


def test_mlflow_is_told_where_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment for the run, in it a run for the job, which its later lives continue."""
    mlflow, store = FakeMlflow(monkeypatch), MemoryStore()
    for step in (1, 2):
        life(store, settings(tmp_path, mlflow_uri="http://mlflow:5000"), step)
    assert mlflow.uri == "http://mlflow:5000"
    assert mlflow.runs == {"id 0": ["experiment r", "astro_rl", "FINISHED"]}
    assert [point for point in mlflow.points if point[1] == "reward"] == [
        ("id 0", "reward", 0.5, 1),
        ("id 0", "reward", 0.5, 2),
    ]


@pytest.mark.parametrize(("field", "package"), [("wandb_project", "wandb"), ("mlflow_uri", "mlflow")])
def test_a_missing_package_is_named(field: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which setting needs what, and how to get it."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(InvalidInputError, match=rf"tracking\.{field}: 'x' needs the package {package}, .*pip install"):
        require_installed(TrackingSettings(**{field: "x"}))


def test_a_tracker_that_refuses_is_told_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example without credentials: the job ends with the setting's name."""
    FakeWandb(monkeypatch).fault = RuntimeError("no API key")
    with pytest.raises(InvalidInputError, match=r"tracking\.wandb_project: 'astro' was refused: .*no API key"):
        life(MemoryStore(), settings(tmp_path, wandb_project="astro"), 1)


def test_a_tracker_that_fails_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server went away: it is told no more, and the steps go on into the store."""
    wandb, store = FakeWandb(monkeypatch), MemoryStore()
    with StepMetrics(store, settings(tmp_path, wandb_project="astro")) as metrics:
        metrics.write(1, {"reward": 0.5})
        wandb.fault = RuntimeError("gone")
        metrics.write(2, {"reward": 0.5})
        wandb.fault = None
        metrics.write(3, {"reward": 0.5})
    assert [step for step, _ in wandb.logged] == [1]
    assert len(list(store.list("runs/r/jobs/astro_rl/steps/"))) == 3


def test_a_tracker_that_fails_at_the_end_fails_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trained is done: the others are closed, and the job does not begin again."""
    wandb, mlflow = FakeWandb(monkeypatch), FakeMlflow(monkeypatch)
    with StepMetrics(MemoryStore(), settings(tmp_path, wandb_project="astro", mlflow_uri="http://mlflow")) as metrics:
        metrics.write(1, {"reward": 0.5})
        wandb.fault = RuntimeError("gone")
    assert wandb.exit_code is None
    assert mlflow.runs == {"id 0": ["experiment r", "astro_rl", "FINISHED"]}


def test_a_job_that_resumes_without_its_tracker_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a step is there, a server that is away ends no job: its tracker is left out and the steps are stored."""
    wandb, mlflow, store = FakeWandb(monkeypatch), FakeMlflow(monkeypatch), MemoryStore()
    asked = settings(tmp_path, wandb_project="astro", mlflow_uri="http://mlflow")
    life(store, asked, 1)
    wandb.fault = RuntimeError("away")
    life(store, asked, 2)
    assert [step for step, _ in wandb.logged] == [1]
    assert {step for *_, step in mlflow.points} == {1, 2}
    assert len(list(store.list("runs/r/jobs/astro_rl/steps/"))) == 2


def test_a_store_that_is_away_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job ends as one that may be started again, whatever asked the store."""

    def away(_key: str) -> bool:
        raise UnavailableError("store: away")

    FakeMlflow(monkeypatch)
    store = MemoryStore()
    monkeypatch.setattr(store, "exists", away)
    with pytest.raises(UnavailableError):
        life(store, settings(tmp_path, mlflow_uri="http://mlflow"), 1)
