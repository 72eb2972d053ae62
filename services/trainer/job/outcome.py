"""How a job begins and ends as a process: what it asks of the store, what it says, the status it leaves with.

Nothing here imports torch, so that a job with nothing to do, or with wrong settings, says so at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from retrograde.core.settings import EngineSettings
from retrograde.runtime import logs
from retrograde.runtime.errors import ConflictError, InvalidInputError
from retrograde.runtime.objects import ObjectStore
from retrograde.runtime.settings import BAD_INPUT_STATUS
from services.trainer.job.settings import JobSettings

COMPLETE = "COMPLETE.json"
"""The object that declares a resumable save whole."""


def finished(store: ObjectStore, settings: JobSettings) -> bool:
    """Whether the checkpoint is there whole: its manifest is written last. Then no saves are left behind."""
    done = store.exists(f"{settings.output_key}/MANIFEST.json")
    if done:
        delete_prefix(store, state_prefix(settings.job_key))
    return done


def state_prefix(job_key: str) -> str:
    """Where a job's resumable saves are."""
    return f"{job_key}/state"


def delete_prefix(store: ObjectStore, prefix: str) -> None:
    """Deletes all below `prefix`, what declares it complete first."""
    keys = list(store.list(prefix.rstrip("/") + "/"))
    declarations = [key for key in keys if key.endswith((COMPLETE, "/MANIFEST.json"))]
    for key in [*declarations, *keys]:
        store.delete(key)


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
    except (ConflictError, InvalidInputError) as error:
        logs.get_logger(name).error("refused", reason=str(error))
        sys.exit(BAD_INPUT_STATUS)
    finally:
        gc.freeze()  # else the interpreter's end looks for garbage in all of torch, for a second
