"""What a process shows of itself, from PEM files that are read again when they change.

A service has one identity: its certificate is what it shows as a server and as a client, and `authority` is what both
ask of the other side. Files that are replaced are taken over by the next connection; what is half written, or does not
fit together, is logged and the last whole set stays in use. Connections that stand are not looked at again.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from pydantic import BaseModel, ConfigDict, Field

from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.logs import get_logger

_log = get_logger(__name__)


class TlsSettings(BaseModel):
    """One identity; all three are paths of PEM files, which are read again when they change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: Path = Field(description="Its certificate, and those between it and the authority.")
    key: Path = Field(description="Its private key, without a password.")
    authority: Path = Field(description="The authorities that signed the other side's; several for a change of them.")


@dataclass(frozen=True, slots=True)
class Shown:
    """The contents of the files at one time; `pair` is key and certificate."""

    authority: bytes | None
    pair: tuple[bytes, bytes] | None


class _Stamp(NamedTuple):
    """Changes with a file's contents, also when a link on its path is turned elsewhere."""

    inode: int
    mtime_ns: int
    size: int


class Identity:
    """The files as they were when last found whole. Safe in every thread.

    Raises InvalidInputError, naming the file, when they are not whole to begin with.
    """

    def __init__(
        self, *, authority: Path | None = None, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        self._files = {"authority": authority, "certificate": certificate, "key": key}
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self._shown = self._read()

    @classmethod
    def of(cls, settings: TlsSettings) -> Identity:
        """That of a service."""
        return cls(authority=settings.authority, certificate=settings.certificate, key=settings.key)

    def current(self) -> Shown:
        """What to show now; the same object until the files change."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                self._read_again()
            return self._shown

    def server_credentials(self) -> grpc.ServerCredentials:
        """Of a server that asks for a certificate signed by the authority; each handshake looks at the files."""
        given = self.current()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            before, given = given, self.current()
            return None if given is before else _configuration(given)

        fetch: Any = changed  # the stubs forget that None says nothing has changed
        return grpc.dynamic_ssl_server_credentials(_configuration(given), fetch, require_client_authentication=True)

    def _read_again(self) -> None:
        try:
            self._shown = self._read()
        except InvalidInputError as error:
            _log.warning("certificate not taken over", reason=str(error))
        else:
            _log.info("certificate taken over", file=str(self._files["certificate"]))

    def _read(self) -> Shown:
        authority, certificate, key = (_contents(name, path) if path else None for name, path in self._files.items())
        shown = Shown(authority, (key, certificate) if key and certificate else None)
        _check(self._files)
        if self._stamps() != self._seen:
            raise InvalidInputError("tls: the files changed while they were read; start again")
        return shown

    def _stamps(self) -> list[_Stamp | None]:
        return [_stamp(path) for path in self._files.values() if path]


def _stamp(path: Path) -> _Stamp | None:
    """None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_ino, found.st_mtime_ns, found.st_size)


def _contents(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"tls.{name}: {path}: {error.strerror}; name a PEM file that can be read") from error


def _check(files: dict[str, Path | None]) -> None:
    """Whether they are what they should be; gRPC would only say that no handshake succeeds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority, certificate, key = files["authority"], files["certificate"], files["key"]
    if authority:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError as error:
            raise InvalidInputError(f"tls.authority: {authority}: holds no PEM certificate; correct it") from error
    if certificate and key:
        try:
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            is_mixed = error.reason == "KEY_VALUES_MISMATCH"
            reason = "are not a pair" if is_mixed else "are no PEM certificate and key without a password"
            raise InvalidInputError(
                f"tls.certificate, tls.key: {certificate} and {key} {reason}; correct one of them"
            ) from error


def _configuration(shown: Shown) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([shown.pair] if shown.pair else [], shown.authority)
