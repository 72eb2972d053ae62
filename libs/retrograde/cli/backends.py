"""Where the messages and objects of a folder live: in its own files, in servers started for it, or where a URL says.

    --broker sqlite | kafka | URL        --store directory | minio | URL

`kafka` and `minio` are real servers below `DIR/servers/`, started by the command that needs them and stopped with it;
what they hold stays. `DIR/backends.json` keeps the choice, so that later commands on the folder find the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from retrograde.cli.servers.kafka_server import KafkaServer
from retrograde.cli.servers.minio_server import MinioServer
from retrograde.runtime.adapters import open_broker, open_store
from retrograde.runtime.errors import ConflictError, InvalidInputError
from retrograde.runtime.objects import ObjectStore

BROKERS, STORES = ("sqlite", "kafka"), ("directory", "minio")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for: a word, or a URL."""

    broker: str = BROKERS[0]
    store: str = STORES[0]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """That of `folder`; the defaults where nothing was chosen."""
        try:
            return cls(**json.loads(_file(folder).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInputError(
                f"{_file(folder)}: cannot be read ({error}); delete it and name --broker and --store again"
            ) from error

    @classmethod
    def make(cls, folder: Path, broker: str | None, store: str | None) -> Self:
        """That of `folder`, made now if it is new; None asks for whatever it is.

        Raises:
            InvalidInputError: a word that is neither a name nor a URL.
            ConflictError: the folder's objects or messages live elsewhere.
        """
        _check("--broker", broker, BROKERS)
        _check("--store", store, STORES)
        if not _file(folder).exists() and not (folder / "store").exists():
            choice = cls(broker or BROKERS[0], store or STORES[0])
            _file(folder).write_text(json.dumps(asdict(choice), indent=2) + "\n", encoding="utf-8")
            return choice
        choice = cls.of(folder)
        for option, asked, kept in (("--broker", broker, choice.broker), ("--store", store, choice.store)):
            if asked not in (None, kept):
                raise ConflictError(f"{option} {asked}: {folder} uses {kept}; leave it out, or choose another --out")
        return choice


@dataclass(frozen=True, slots=True)
class Backends:
    """URLs that are open now."""

    broker: str
    store: str

    @classmethod
    def within(cls, folder: Path) -> Self:
        """The files of `folder`: the default choice, which needs no server."""
        return cls(f"sqlite://{folder / 'broker.db'}", f"file://{folder / 'store'}")


@contextlib.contextmanager
def running_store(folder: Path, choice: Choice) -> Iterator[str]:
    """URL of the object store, whose server runs while the block does.

    Raises NotFoundError where a server is not installed, UnavailableError where it does not start.
    """
    if choice.store == "minio":
        with MinioServer(folder / "servers" / "minio") as server:
            yield server.url()
    else:
        yield Backends.within(folder).store if choice.store == "directory" else choice.store


@contextlib.contextmanager
def running_backends(folder: Path, choice: Choice) -> Iterator[Backends]:
    """Both."""
    with running_store(folder, choice) as store, running_broker(folder, choice) as broker:
        yield Backends(broker, store)


@contextlib.contextmanager
def opened_store(folder: Path) -> Iterator[ObjectStore]:
    """The store of `folder`, for a command that only looks."""
    with running_store(folder, Choice.of(folder)) as url:
        yield open_store(url)


@contextlib.contextmanager
def running_broker(folder: Path, choice: Choice) -> Iterator[str]:
    """URL of the broker, whose server runs while the block does. Raises as `running_store`, and where none answers."""
    if choice.broker == "kafka":
        with KafkaServer(folder / "servers" / "kafka") as server:
            yield server.url
    else:
        if choice.broker != "sqlite":
            open_broker(choice.broker).close()  # services wait for theirs; who starts them wants to know
        yield Backends.within(folder).broker if choice.broker == "sqlite" else choice.broker


def _check(option: str, asked: str | None, names: tuple[str, ...]) -> None:
    if asked is not None and asked not in names and "://" not in asked:
        raise InvalidInputError(f"{option} {asked}: write {' or '.join(names)}, or a URL")


def _file(folder: Path) -> Path:
    return folder / "backends.json"
