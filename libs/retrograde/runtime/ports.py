"""The ports of a process: its own, in TLS or plaintext, and the one that probes ask for its health."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from retrograde.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def bind(server: grpc.aio.Server, field: str, listen: str, credentials: grpc.ServerCredentials | None) -> str:
    """Takes the port; gives the address with the number in it. Raises InvalidInputError, naming the field."""
    _check_free(field, listen)
    try:
        port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
    except RuntimeError as error:
        raise InvalidInputError(_taken(field, listen, str(error))) from error
    return f"{listen.rpartition(':')[0]}:{port}"


@contextlib.asynccontextmanager
async def serving_health(listen: str, servicer: health.aio.HealthServicer) -> AsyncIterator[str]:  # type: ignore[name-defined]  # missing in the stubs
    """Serves the health of the process alone, in plaintext; its address."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = bind(server, "health_port", listen, None)
    await server.start()
    try:
        yield address
    finally:
        await server.stop(None)


def _check_free(field: str, listen: str) -> None:
    """Asks before gRPC does, which would print its own pages about it."""
    host, _, port = listen.rpartition(":")
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InvalidInputError(_taken(field, listen, error.strerror or str(error))) from error


def _taken(field: str, listen: str, reason: str) -> str:
    return f"{field}: cannot listen on {listen}: {reason}; end what listens there or choose another port (0 picks one)"
