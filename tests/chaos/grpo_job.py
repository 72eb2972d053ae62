"""GRPO as its own `main` runs it, on the scripted feed: `python -m tests.chaos.grpo_job --config FILE`."""

from __future__ import annotations

from retrograde.runtime.adapters import open_store
from retrograde.runtime.settings import load_settings
from services.trainer.job.grpo_loop import train
from services.trainer.job.outcome import finished, process
from services.trainer.job.settings import GrpoJobSettings
from tests.integration.job.scripted_grpo import SamplingScript


def main() -> None:
    """Trains on the script, unless the job is done."""
    settings = load_settings(GrpoJobSettings)
    with process("trainer-grpo", settings.engine):
        store = open_store(settings.store)
        if not finished(store, settings):
            train(settings, store, SamplingScript(store, settings.work_dir.parent, settings.rl.group_size))


if __name__ == "__main__":
    main()
