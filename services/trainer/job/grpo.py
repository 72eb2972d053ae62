"""GRPO, as a process: `torchrun --nproc-per-node N -m services.trainer.job.grpo --config job.yaml`.

Does nothing where the output is already complete. Killed at any moment, the same command continues from the last save
and uses again exactly the groups that no save covers.
"""

from __future__ import annotations

from retrograde.runtime import spans
from retrograde.runtime.adapters import open_store
from retrograde.runtime.settings import load_settings
from services.trainer.job.outcome import finished, process, require
from services.trainer.job.settings import GrpoJobSettings


def main() -> None:
    """Reads the settings and trains on the feed of the rollouts service."""
    settings = load_settings(GrpoJobSettings)
    with process("trainer-grpo", settings.engine), spans.exported("trainer-grpo", settings.tracing):
        store = open_store(settings.store)
        if finished(store, settings):
            return
        require(store, init_checkpoint=f"{settings.init_checkpoint}/MANIFEST.json", prompts_key=settings.prompts_key)
        from services.trainer.job.feed import GrpcFeed  # noqa: PLC0415 - imports only where there is work
        from services.trainer.job.grpo_loop import train  # noqa: PLC0415 - seconds of imports, likewise

        with GrpcFeed(settings) as source:
            train(settings, store, source)


if __name__ == "__main__":
    main()
