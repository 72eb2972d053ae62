"""A script for ranks: fine-tunes under each of the settings in the file, one after another in the same processes.

Then two steps more under each, the second twice: by the engine that took the first, and by one restored from its save.
"""

from __future__ import annotations

import json
import os

os.environ["DS_ACCELERATOR"] = "cpu"  # read when DeepSpeed is imported

from pydantic import BaseModel
from transformers import AutoTokenizer

from retrograde.core.settings import EngineSettings
from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore
from retrograde.runtime.settings import load_settings
from services.trainer.job.checkpoints import Saves, export
from services.trainer.job.learner import build_learner
from services.trainer.job.ranks import Ranks, joined
from services.trainer.job.schedule import Schedule
from services.trainer.job.settings import SftJobSettings
from services.trainer.job.sft_loop import load_data, take_step, train_on


class Jobs(BaseModel):
    """What the file holds. `job_key` names its log."""

    job_key: str
    jobs: list[SftJobSettings]


def two_steps(ranks: Ranks, job: SftJobSettings, store: ObjectStore) -> None:
    """Stores the weights under `after-0` if it began at nothing, under `after-1` if at a save."""
    start = job.work_dir / "init"
    learner = build_learner(start, job.engine, 0.0, ranks)
    examples = load_data(job, store, AutoTokenizer.from_pretrained(start)).train.examples
    saves, plan = Saves(store, f"{job.job_key}/two", job.work_dir, ranks, job.fingerprint), Schedule(2, 0, 0.01)
    begun, _ = saves.restore(learner)
    if not begun:
        take_step(learner, examples, job, plan, 0)
        saves.save(learner, 1, {})
    take_step(learner, examples, job, plan, 1)
    export(learner, start, job.work_dir / "after", {})
    if ranks.is_first:
        store.upload(f"{job.job_key}/after-{begun}", job.work_dir / "after")
        learnt_in = {str(weights.dtype) for weights in learner._optimizer.state}
        store.put(f"{job.job_key}/learnt-in.json", json.dumps(sorted(learnt_in)).encode())
    ranks.barrier()


def main() -> None:
    settings = load_settings(Jobs)
    with joined(EngineSettings(device="cpu")) as ranks:
        for job in settings.jobs:
            store = open_store(job.store)
            train_on(ranks, job, store)
            two_steps(ranks, job, store)
            two_steps(ranks, job, store)


if __name__ == "__main__":
    main()
