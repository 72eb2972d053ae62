"""What a process shows of itself, from files that are read again when they change.

A service has one identity: its certificate is what it shows as a server and as a client, and `authority` is what both
ask of the other side. A client from outside may show a token instead. Files that are replaced count for the next
connection; those that stand are not looked at again.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pydantic import BaseModel, ConfigDict, Field

from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.followed import Followed


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
    token: str | None


@dataclass(frozen=True, slots=True)
class _Files:
    authority: Path | None
    certificate: Path | None
    key: Path | None
    token: Path | None


class Identity:
    """The files as they were when last found whole. Safe in every thread.

    Raises InvalidInputError, naming the file, when they are not whole to begin with.
    """

    def __init__(
        self,
        *,
        authority: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        token: Path | None = None,
    ) -> None:
        files = _Files(authority, certificate, key, token)
        given = [path for path in (authority, certificate, key, token) if path]
        self._shown = Followed(given, lambda: _read(files))

    @classmethod
    def of(cls, settings: TlsSettings) -> Identity:
        """That of a service."""
        return cls(authority=settings.authority, certificate=settings.certificate, key=settings.key)

    def current(self) -> Shown:
        """What to show now; the same object until the files change."""
        return self._shown.current()

    def server_credentials(self, *, asks_certificate: bool = True) -> grpc.ServerCredentials:
        """Of a server that asks for a certificate of the authority's, or for none; each handshake sees the files."""
        given = self.current()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            before, given = given, self.current()
            return None if given is before else _configuration(given)

        fetch: Any = changed  # the stubs forget that None says nothing has changed
        return grpc.dynamic_ssl_server_credentials(
            _configuration(given), fetch, require_client_authentication=asks_certificate
        )


def _read(files: _Files) -> Shown:
    authority = _contents("tls.authority", files.authority)
    certificate, key = _contents("tls.certificate", files.certificate), _contents("tls.key", files.key)
    word = _contents("token", files.token)
    token = None if word is None else _one_line(files, word)
    try:
        _check_authority(files.authority)
        _check_pair(files.certificate, files.key)
    except OSError as error:  # read before, and gone now
        raise InvalidInputError(f"tls: a file went away while it was read: {error.strerror}; start again") from error
    return Shown(authority, (key, certificate) if key and certificate else None, token)


def _contents(name: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{name}: {path}: {error.strerror}; name a file that can be read") from error


def _one_line(files: _Files, contents: bytes) -> str:
    words = contents.split()
    if len(words) != 1 or not words[0].isascii():
        raise InvalidInputError(f"token: {files.token}: must hold one word of ASCII, the token; write it alone")
    return words[0].decode()


def _check_authority(authority: Path | None) -> None:
    """Whether it is one; gRPC would only say that no handshake succeeds."""
    try:
        if authority:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(authority)
    except ssl.SSLError as error:
        raise InvalidInputError(f"tls.authority: {authority}: holds no PEM certificate; correct it") from error


def _check_pair(certificate: Path | None, key: Path | None) -> None:
    try:
        if certificate and key:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        is_mixed = error.reason == "KEY_VALUES_MISMATCH"
        reason = "are not a pair" if is_mixed else "are no PEM certificate and key without a password"
        raise InvalidInputError(
            f"tls.certificate, tls.key: {certificate} and {key} {reason}; correct one of them"
        ) from error


def _configuration(shown: Shown) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([shown.pair] if shown.pair else [], shown.authority)
