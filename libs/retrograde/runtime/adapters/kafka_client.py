"""What the clients of kafka-python have in common: how they are made, and what their errors mean.

Wrong credentials are bad input when a broker is opened; later, when they changed under a running process, they are a
reason to wait: nobody's message is bad because of them. So is a right that is lacking, and a replication that the
brokers that are there cannot give yet: they may still be starting.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from retrograde.runtime.adapters import kafka_door
from retrograde.runtime.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    RetrogradeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from retrograde.runtime.adapters.kafka_settings import KafkaSettings

REQUEST_SECONDS = 10.0
"""A request that is not answered for so long is given up."""
BOOTSTRAP_SECONDS = 10.0
_RECONNECT_SECONDS = 1.0
T = TypeVar("T")
_BAD_INPUT = (
    kafka_errors.InvalidConfigurationError,
    kafka_errors.InvalidPartitionsError,
    kafka_errors.InvalidSessionTimeoutError,
    kafka_errors.InvalidTopicError,
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.PolicyViolationError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.UnsupportedSaslMechanismError,
)

logging.getLogger("kafka").setLevel(logging.CRITICAL)  # a line for each attempt otherwise; what matters is raised


def _options(settings: KafkaSettings) -> dict[str, Any]:
    """Arguments of every client. Raises InvalidInputError for a file that cannot be used."""
    user, password = settings.credentials() or (None, None)
    return {
        "bootstrap_servers": list(settings.bootstrap),
        "security_protocol": settings.protocol,
        "ssl_context": settings.tls(),
        "sasl_mechanism": settings.mechanism if user else None,
        "sasl_plain_username": user,
        "sasl_plain_password": password,
        "bootstrap_timeout_ms": _milliseconds(BOOTSTRAP_SECONDS),
        "request_timeout_ms": _milliseconds(REQUEST_SECONDS),
        "reconnect_backoff_max_ms": _milliseconds(_RECONNECT_SECONDS),
    }


def opened(kind: Callable[..., T], settings: KafkaSettings, **own: Any) -> T:
    """A client of `kind` with options of its own; one that cannot be made leaves no thread behind.

    Raises InvalidInputError for a file that cannot be used, and what kafka-python raises.
    """
    made: list[KafkaNetClient] = []

    def network(**arguments: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**arguments))
        return made[-1]

    try:
        return kind(**(_options(settings) | own), kafka_client=network)
    except BaseException:
        for each in made:
            each.close()
        raise


def open_admin(settings: KafkaSettings) -> KafkaAdminClient:
    """The first client of a process.

    Raises:
        InvalidInputError: a file cannot be used, or the cluster refuses what is in it.
        UnavailableError: the cluster does not answer.
    """
    kafka_door.knock(settings)
    try:
        return opened(KafkaAdminClient, settings)
    except kafka_errors.KafkaError as error:
        raise kafka_door.why_shut(settings) from error


@contextlib.contextmanager
def answering(settings: KafkaSettings, what: str) -> Iterator[None]:
    """Turns errors of kafka-python into the platform's; `what` says which topic or group it was about."""
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise meaning(settings, what, error) from error
    except RuntimeError as error:  # a client that was closed meanwhile
        raise UnavailableError(f"broker: {settings.url!r}: {what}: {error}") from error


def meaning(settings: KafkaSettings, what: str, error: Exception) -> RetrogradeError:
    """The platform's error for one of kafka-python's."""
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return unknown_topic(settings, what)
    if isinstance(error, kafka_errors.AuthorizationError):
        grant = "grant it to the client of username_file or cert_file"
        return ForbiddenError(f"broker: {settings.url!r}: {what}: {_words(error)}; {grant}")
    if isinstance(error, _BAD_INPUT):
        return InvalidInputError(f"broker: {settings.url!r}: {what}: {_words(error)}")
    return UnavailableError(f"broker: {settings.url!r}: {what}: {_words(error)}; call again")


def unknown_topic(settings: KafkaSettings, what: str) -> NotFoundError:
    """For a topic that nobody made."""
    return NotFoundError(f"broker: {settings.url!r}: there is no {what}; call create_topic first")


def _words(error: Exception) -> str:
    """Its name and its first line."""
    text = str(error).partition("\n")[0]
    return text if text.startswith(type(error).__name__) else f"{type(error).__name__}: {text}".rstrip(": ")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
