"""Where a command that only looks finds a run: in the folder it was started in, or in a store under its id."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from retrograde.cli.backends import opened_store
from retrograde.cli.background import serving_addresses
from retrograde.cli.run_folder import RunFolder
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2


@contextlib.contextmanager
def opened_run(run: str, store_url: str | None) -> Iterator[tuple[ObjectStore, str]]:
    """(store, run id) of `run`: the --out of a run, or with `store_url` an id. Raises InvalidInputError."""
    if store_url is not None:
        yield open_store(existing_file("--store", store_url)), run
        return
    folder = Path(run).expanduser().absolute()
    run_id = RunFolder(folder).run_id()
    if serving_addresses(folder):  # then its store's server, if it has one, runs as well
        settings = yaml.safe_load((folder / "services" / "trainer.yaml").read_text(encoding="utf-8"))
        yield open_store(settings["store"]), run_id
    else:
        with opened_store(folder) as store:
            yield store, run_id


def stored_run(store: ObjectStore, run_id: str) -> run_pb2.Run:
    """Its state. Raises NotFoundError."""
    try:
        return run_pb2.Run.FromString(store.get(f"runs/{run_id}/run.pb"))
    except NotFoundError as error:
        raise NotFoundError(f"RUN: {run_id!r} is unknown in this store; its folders in runs/ have the names") from error


def existing_file(option: str, url: str) -> str:
    """`url`, unless it names a file or folder that is not there: opening it would make an empty one."""
    scheme, _, path = url.partition("://")
    path = path.partition("?")[0] if scheme == "sqlite" else path
    if scheme in {"file", "sqlite"} and path.startswith("/") and not Path(path).exists():
        raise InvalidInputError(f"{option}: {path} does not exist; correct the path")
    return url
