"""The first contact with a cluster, before any client: what is wrong with a URL is said in one line, at once.

kafka-python only tells that it could not bootstrap. So the addresses are knocked at first (name, port, TLS handshake);
if its clients are then not let in, the door is looked at once more.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from retrograde.runtime.errors import InvalidInputError, RetrogradeError, UnavailableError

if TYPE_CHECKING:
    from retrograde.runtime.adapters.kafka_settings import KafkaSettings

_CONNECT_SECONDS = 5.0
_LISTEN_SECONDS = 2.0


def knock(settings: KafkaSettings) -> None:
    """Returns when one of the addresses opens.

    Raises:
        InvalidInputError: the TLS parameters and the broker do not go together.
        UnavailableError: nobody answers.
    """
    errors: list[RetrogradeError] = []
    for address in settings.bootstrap:
        try:
            with _opened(settings, address):
                return
        except RetrogradeError as error:
            errors.append(error)
    raise next((each for each in errors if isinstance(each, InvalidInputError)), errors[-1])


def why_shut(settings: KafkaSettings) -> RetrogradeError:
    """Why nobody is let in at an address that opens."""
    address = settings.bootstrap[0]
    if not settings.is_encrypted and _speaks_tls(address):
        return _wrong(settings, f"{address} speaks TLS; add ca_file=/PATH of the authority that signed its certificate")
    try:
        with _opened(settings, address) as door:
            door.settimeout(_LISTEN_SECONDS)
            if settings.username_file:
                return _why_refused(settings, address, _offered(door, settings.mechanism))
            door.recv(1)  # what a client without the right certificate gets is an alert
    except ssl.SSLError as error:
        return _wrong(settings, f"{address} refuses the certificate of this client ({error.reason}); see cert_file")
    except RetrogradeError as error:
        return error
    except OSError:
        pass
    hint = "" if settings.username_file else "; if it wants a password, add username_file=/PATH&password_file=/PATH"
    return UnavailableError(f"broker: {settings.url!r}: {address} opens but does not answer{hint}")


def _why_refused(settings: KafkaSettings, address: str, offered: list[str]) -> InvalidInputError:
    if settings.mechanism not in offered:
        known = ", ".join(offered) or "none: leave out username_file and password_file"
        return _wrong(settings, f"mechanism {settings.mechanism} is not offered by {address}; it offers {known}")
    return _wrong(settings, f"{address} refuses the user or the password; see username_file and password_file")


def _offered(door: socket.socket, mechanism: str) -> list[str]:
    """The SASL mechanisms of a broker, by Kafka's SaslHandshake request (API 17, version 1). Raises OSError."""
    name = mechanism.encode()
    request = struct.pack(">hhihh", 17, 1, 0, 0, len(name)) + name
    door.sendall(struct.pack(">i", len(request)) + request)
    answer = door.makefile("rb")
    _, _, _, count = struct.unpack(">iihi", _exactly(answer, 14))
    return [_exactly(answer, struct.unpack(">h", _exactly(answer, 2))[0]).decode() for _ in range(count)]


def _exactly(answer: BinaryIO, num_bytes: int) -> bytes:
    data = answer.read(num_bytes)
    if len(data) < num_bytes:
        raise ConnectionResetError("the broker closed the connection")
    return data


@contextlib.contextmanager
def _opened(settings: KafkaSettings, address: str) -> Iterator[socket.socket]:
    """A connection to host:port, encrypted if the settings say so."""
    host = address.rpartition(":")[0].strip("[]")
    tls = settings.tls()
    with contextlib.ExitStack() as stack:
        try:
            door = stack.enter_context(_connected(address))
            if tls:
                door = stack.enter_context(tls.wrap_socket(door, server_hostname=host))
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message
            raise _wrong(settings, f"the certificate of {address} is not trusted ({reason}); see ca_file") from error
        except ssl.SSLError as error:
            raise _wrong(settings, f"{address} speaks no TLS ({error.reason}); take its TLS port") from error
        except socket.gaierror as error:
            reason = f"host {host!r} is unknown ({error.strerror}); write one that resolves"
            raise UnavailableError(f"broker: {settings.url!r}: {reason}") from error
        except OSError as error:
            reason = f"nobody answers at {address} ({error}); start the broker or correct the address"
            raise UnavailableError(f"broker: {settings.url!r}: {reason}") from error
        yield door


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS)


def _speaks_tls(address: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with _connected(address) as door, context.wrap_socket(door):
            return True
    except OSError:
        return False


def _wrong(settings: KafkaSettings, reason: str) -> InvalidInputError:
    return InvalidInputError(f"broker: {settings.url!r}: {reason}")
