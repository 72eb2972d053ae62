"""Those who are told the steps of a job, under TRL's names: TensorBoard, and W&B and MLflow where asked for.

The store's step objects are the record and these are views of it. A resumed job makes its TensorBoard files anew from
them, so that each step is there once; W&B keeps what it was told first of a step that is done again, MLflow both.
"""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch.utils.tensorboard import SummaryWriter

from retrograde.runtime.errors import InvalidInputError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from services.trainer.job.settings import JobSettings
from services.trainer.tracking import require_installed

_KEEP_EVERY_SECONDS = 30.0
_log = get_logger(__name__)


class Step(NamedTuple):
    """What a step says; `logged_at` is in seconds since 1970."""

    number: int
    values: Mapping[str, float]
    logged_at: float


class Tracker(Protocol):
    """One of them."""

    def log(self, step: Step) -> None:
        """Takes a step; their numbers rise."""

    def close(self, *, failed: bool) -> None:
        """The job ended, or this life of it."""


class TensorBoard:
    """Event files in `<job_key>/tensorboard/`, put there every half minute: `tensorboard --logdir STORE/runs`."""

    def __init__(
        self,
        store: ObjectStore,
        job_key: str,
        folder: Path,
        earlier: Iterable[Step] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._prefix, self._folder, self._clock = store, f"{job_key}/tensorboard/", folder, clock
        shutil.rmtree(folder, ignore_errors=True)
        self._old = set(store.list(self._prefix))
        self._writer = SummaryWriter(str(folder))
        for step in earlier:
            self._add(step)
        self._kept_at = clock()

    def log(self, step: Step) -> None:
        """See Tracker."""
        self._add(step)
        if self._clock() - self._kept_at > _KEEP_EVERY_SECONDS:
            self._keep()

    def close(self, *, failed: bool) -> None:  # noqa: ARG002  a curve that stops says so itself
        """See Tracker."""
        self._writer.close()
        self._keep()

    def _add(self, step: Step) -> None:
        for name, value in step.values.items():
            self._writer.add_scalar(name, value, step.number, step.logged_at)

    def _keep(self) -> None:
        self._writer.flush()
        for file in self._folder.iterdir():
            self._store.put(f"{self._prefix}{file.name}", file.read_bytes())
        while self._old:
            self._store.delete(self._old.pop())
        self._kept_at = self._clock()


class WeightsAndBiases:
    """A run of the project for each job, continued by the job's later lives."""

    def __init__(self, project: str, settings: JobSettings) -> None:
        run_id, job = names_of(settings.job_key)
        self._run = importlib.import_module("wandb").init(
            project=project,
            id=f"{run_id}-{job}",
            name=f"{run_id}/{job}",
            group=run_id,
            resume="allow",
            dir=str(settings.work_dir),
        )

    def log(self, step: Step) -> None:
        """See Tracker."""
        self._run.log(dict(step.values), step=step.number)

    def close(self, *, failed: bool) -> None:
        """See Tracker."""
        self._run.finish(exit_code=int(failed))


class MLflow:
    """An experiment for each run, a run in it for each job, whose id is kept for the job's later lives."""

    def __init__(self, uri: str, store: ObjectStore, settings: JobSettings) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        self._client = self._mlflow.MlflowClient(tracking_uri=uri)
        self._id = self._known_or_new(store, settings.job_key)

    def log(self, step: Step) -> None:
        """See Tracker."""
        metric, at = self._mlflow.entities.Metric, round(1000 * step.logged_at)
        metrics = [metric(name, value, at, step.number) for name, value in step.values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, *, failed: bool) -> None:
        """See Tracker."""
        self._client.set_terminated(self._id, status="FAILED" if failed else "FINISHED")

    def _known_or_new(self, store: ObjectStore, job_key: str) -> str:
        key = f"{job_key}/mlflow.json"
        if store.exists(key):
            return str(json.loads(store.get(key))["run_id"])
        run_id, job = names_of(job_key)
        experiment = self._client.get_experiment_by_name(run_id)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(run_id)
        found = str(self._client.create_run(experiment_id, run_name=job).info.run_id)
        store.put(key, json.dumps({"run_id": found}).encode())
        return found


def names_of(job_key: str) -> tuple[str, str]:
    """(run, job) of runs/<run>/jobs/<job>."""
    names = [part for part in job_key.split("/") if part not in {"runs", "jobs"}]
    return names[0], names[-1]


def open_trackers(store: ObjectStore, settings: JobSettings, earlier: Iterable[Step]) -> list[Tracker]:
    """TensorBoard, with the `earlier` steps in it, and who was asked for.

    One that fails before the first step raises InvalidInputError naming its setting; later it is left out.
    """
    asked, steps = settings.tracking, list(earlier)
    require_installed(asked)
    trackers: list[Tracker] = [TensorBoard(store, settings.job_key, settings.work_dir / "tensorboard", steps)]
    if project := asked.wandb_project:
        trackers += _opened("wandb_project", project, lambda: WeightsAndBiases(project, settings), is_first=not steps)
    if uri := asked.mlflow_uri:
        trackers += _opened("mlflow_uri", uri, lambda: MLflow(uri, store, settings), is_first=not steps)
    return trackers


def _opened(field: str, value: str, build: Callable[[], Tracker], *, is_first: bool) -> list[Tracker]:
    try:
        return [build()]
    except UnavailableError:  # the store's
        raise
    except Exception as error:  # their packages have exceptions of their own
        refused = f"tracking.{field}: {value!r} was refused: {type(error).__name__}: {error}"
        if is_first:
            raise InvalidInputError(refused) from error
        _log.warning("a tracker is left out", reason=refused)
        return []
