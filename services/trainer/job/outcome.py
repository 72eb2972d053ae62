"""How a job begins and ends as a process: what it says, and the status it leaves with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from retrograde.runtime import logs
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.objects import ObjectStore
from retrograde.runtime.settings import BAD_INPUT_STATUS
from services.trainer.job.settings import EngineSettings


def finished(store: ObjectStore, output_key: str) -> bool:
    """Whether the checkpoint is there whole: its manifest is written last."""
    return store.exists(f"{output_key}/MANIFEST.json")


def require(store: ObjectStore, **keys: str) -> None:
    """Raises InvalidInputError naming the first setting whose object is not in the store."""
    for setting, key in keys.items():
        if not store.exists(key):
            raise InvalidInputError(
                f"{setting}: the store has no object {key!r}; write it first, or correct the setting"
            )


@contextmanager
def process(name: str, engine: EngineSettings) -> Iterator[None]:
    """Logs as JSON lines; input that is wrong ends the process with one line and status 2.

    DeepSpeed looks for its accelerator when it is imported: it is told here, before.
    """
    logs.configure(name)
    if engine.device != "auto":
        os.environ.setdefault("DS_ACCELERATOR", engine.device)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        yield
    except InvalidInputError as error:
        logs.get_logger(name).error("refused", reason=str(error))
        sys.exit(BAD_INPUT_STATUS)
