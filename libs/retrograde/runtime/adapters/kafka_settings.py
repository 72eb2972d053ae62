"""Where a Kafka cluster is, as kafka://HOST:PORT[,HOST:PORT...][?parameter=value&...] tells.

    ca_file=/P          TLS; the authority that signed the brokers' certificates
    cert_file, key_file the client's own certificate and key, PEM
    username_file, password_file   SASL; each file holds one line
    mechanism=          SCRAM-SHA-256 (default), SCRAM-SHA-512 or PLAIN (with TLS only)
    session_seconds=N   a member not heard of for so long loses its partitions
    poll_seconds=N      a member that does not poll for so long leaves its group
    replication=N       copies of the topics made here; the cluster's own default without it

Everything is taken literally, without percent-decoding. Secrets stand in files, never in the URL.
"""

from __future__ import annotations

import contextlib
import functools
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from retrograde.runtime.adapters.url_query import read_parameters
from retrograde.runtime.errors import InvalidInputError

_SHAPE = "kafka://HOST:PORT[,HOST:PORT...][?ca_file=/PATH&username_file=/PATH&password_file=/PATH]"
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})")
_MAX_PORT = 65535
_FILES = ("ca_file", "cert_file", "key_file", "username_file", "password_file")
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "session_seconds": (0.5, 1800.0),
    "poll_seconds": (1.0, 86400.0),
    "replication": (1, 9),
}
_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")
_PARAMETERS = (*_FILES, "mechanism", *_NUMBERS)
_PAIRS = (("cert_file", "key_file"), ("username_file", "password_file"))


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """A cluster, how to be let in, and how long to be patient with it. The numbers are ours."""

    url: str
    bootstrap: tuple[str, ...]
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username_file: Path | None = None
    password_file: Path | None = None
    mechanism: str = "SCRAM-SHA-256"
    session_seconds: float = 10.0
    poll_seconds: float = 300.0
    replication: int = -1
    """-1 leaves it to the cluster."""

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.ca_file is not None or self.cert_file is not None

    @property
    def protocol(self) -> str:
        """Kafka's name for how it is spoken to."""
        sasl, transport = self.username_file is not None, "SSL" if self.is_encrypted else "PLAINTEXT"
        return f"SASL_{transport}" if sasl else transport

    def tls(self) -> ssl.SSLContext | None:
        """What to encrypt with. Raises InvalidInputError for a file that is missing or holds something else."""
        if not self.is_encrypted:
            return None
        with _readable_pem(self.url, "ca_file", self.ca_file):
            context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file and self.key_file:
            _text(self.url, "key_file", self.key_file)
            with _readable_pem(self.url, "cert_file", self.cert_file):
                context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def credentials(self) -> tuple[str, str] | None:
        """User and password. Raises InvalidInputError for a file that is missing or empty."""
        if self.username_file is None or self.password_file is None:
            return None
        return (
            _line(self.url, "username_file", self.username_file),
            _line(self.url, "password_file", self.password_file),
        )


def parse_kafka_url(url: str) -> KafkaSettings:
    """The settings `url` tells.

    Raises:
        InvalidInputError: an address or a parameter is missing, unknown or not of its form.
    """
    addresses, _, query = url.removeprefix("kafka://").partition("?")
    given = read_parameters(query, _PARAMETERS, functools.partial(_refuse, url))
    settings = KafkaSettings(
        url=url,
        bootstrap=tuple(_address(url, each) for each in addresses.split(",")),
        **{name: _value(url, name, value) for name, value in given.items()},
    )
    if "mechanism" in given and settings.username_file is None:
        _refuse(url, "mechanism needs username_file and password_file")
    for pair in _PAIRS:
        if sum(name in given for name in pair) == 1:
            _refuse(url, f"{' and '.join(pair)} belong together")
    if settings.mechanism == "PLAIN" and not settings.is_encrypted:
        _refuse(url, "mechanism PLAIN would send the password in the clear; add ca_file, or take SCRAM-SHA-256")
    return settings


def _address(url: str, address: str) -> str:
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[1]) <= _MAX_PORT:
        _refuse(url, f"address {address!r} is not HOST:PORT")
    return address


def _value(url: str, name: str, text: str) -> Any:
    if name in _FILES:
        return _file(url, name, text)
    if name == "mechanism":
        return text if text in _MECHANISMS else _refuse(url, f"mechanism {text!r} is none of {', '.join(_MECHANISMS)}")
    return _number(url, name, text)


def _number(url: str, name: str, text: str) -> float:
    least, most = _NUMBERS[name]
    try:
        number = type(least)(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        _refuse(url, f"{name} {text!r} is no number from {least:g} to {most:g}")
    return number


def _file(url: str, name: str, path: str) -> Path:
    if not path.startswith("/"):
        _refuse(url, f"{name} {path!r} is not an absolute path")
    return Path(path)


def _line(url: str, name: str, file: Path) -> str:
    text = _text(url, name, file).strip()
    if not text or "\n" in text:
        _refuse(url, f"{name} {file} holds {'several lines' if text else 'nothing'} instead of one line")
    return text


def _text(url: str, name: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InvalidInputError(f"broker: {url!r}: {name} {file} cannot be read: {reason}") from error


@contextlib.contextmanager
def _readable_pem(url: str, name: str, file: Path | None) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise InvalidInputError(f"broker: {url!r}: {name} {file} holds no usable PEM ({error.reason})") from error
    except OSError as error:
        raise InvalidInputError(f"broker: {url!r}: {name} {file} cannot be read: {error.strerror}") from error


def _refuse(url: str, reason: str) -> NoReturn:
    raise InvalidInputError(f"broker: {url!r}: {reason}; write {_SHAPE}")
