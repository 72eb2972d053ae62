"""A trainer that runs elsewhere: the options that say where it is and what is shown there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.settings import Address
from retrograde.runtime.tls import Identity
from retrograde.wire.clients import TrainerClient

_PATIENCE_SECONDS = 60.0
_ADDRESS: TypeAdapter[str] = TypeAdapter(Address)

TRAINER = typer.Option("--trainer", metavar="HOST:PORT", help="A trainer that runs elsewhere, in a cluster say.")
Authority = Annotated[
    Path | None, typer.Option("--authority", metavar="FILE", help="PEM of who signed the trainer's certificate.")
]
Certificate = Annotated[
    Path | None, typer.Option("--certificate", metavar="FILE", help="PEM certificate shown to the trainer, with --key.")
]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="PEM key of --certificate.")]
Token = Annotated[
    Path | None, typer.Option("--token", metavar="FILE", help="Token shown to the trainer at its public port.")
]


@dataclass(frozen=True, slots=True)
class Door:
    """Its address and the files; without files the connection is plaintext."""

    address: str
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: Path | None = None

    def client(self) -> TrainerClient:
        """A client of that trainer. Raises InvalidInputError naming the option that is wrong."""
        try:
            address = _ADDRESS.validate_python(self.address)
        except ValidationError as error:
            raise InvalidInputError(f"--trainer {self.address!r}: write host:port, as localhost:50051") from error
        return TrainerClient(address, identity=self._identity(), patience_seconds=_PATIENCE_SECONDS)

    def _identity(self) -> Identity | None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInputError("--certificate and --key: one without the other shows nobody; give both or none")
        if not any((self.authority, self.certificate, self.token)):
            return None
        return Identity(authority=self.authority, certificate=self.certificate, key=self.key, token=self.token)
