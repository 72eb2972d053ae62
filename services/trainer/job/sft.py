"""Supervised fine-tuning, as a process: `torchrun --nproc-per-node N -m services.trainer.job.sft --config job.yaml`.

Does nothing where the output is already complete. Killed at any moment, the same command continues from the last save.
"""

from __future__ import annotations

from retrograde.runtime import spans
from retrograde.runtime.adapters import open_store
from retrograde.runtime.settings import load_settings
from services.trainer.job.outcome import finished, process, require
from services.trainer.job.settings import SftJobSettings


def main() -> None:
    """Reads the settings and trains."""
    settings = load_settings(SftJobSettings)
    with process("trainer-sft", settings.engine), spans.exported("trainer-sft", settings.tracing):
        store = open_store(settings.store)
        if finished(store, settings):
            return
        require(store, init_checkpoint=f"{settings.init_checkpoint}/MANIFEST.json", dataset_key=settings.dataset_key)
        if settings.eval_dataset_key:
            require(store, eval_dataset_key=settings.eval_dataset_key)
        from services.trainer.job.sft_loop import train  # noqa: PLC0415 - seconds of imports, only where there is work

        train(settings, store)


if __name__ == "__main__":
    main()
