"""Calls to a name that stands for several servers take turns, and follow the servers as they come and go."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc

from retrograde.core.problem import Problem
from retrograde.runtime.tls import Identity
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer, add_VerifierServiceServicer_to_server
from retrograde.wire.clients import VerifierClient
from tests.certificates import Authority

NAME = "verifier-pods.test"
SECONDS = 60
_A, _IN = 1, 1


class Replica(VerifierServiceServicer):
    """Counts its calls; `held` keeps answers back until it is set; connections last `connection_seconds`."""

    def __init__(self, connection_seconds: float = 3600) -> None:
        self.num_asked = 0
        self._connection_seconds = connection_seconds
        self.held = asyncio.Event()
        self.held.set()
        self._server: grpc.aio.Server

    async def Verify(self, request: pb.VerifyRequest, _context: object) -> pb.VerifyResponse:
        self.num_asked += 1
        await self.held.wait()
        return pb.VerifyResponse(grades=[verdict_pb2.Grade(verdict=verdict_pb2.VERDICT_CORRECT) for _ in request.items])

    async def start(self, host: str, port: int, identity: Identity | None = None) -> int:
        """Serves there. Returns the port."""
        age = int(1000 * self._connection_seconds)
        options = (("grpc.so_reuseport", 0), ("grpc.max_connection_age_ms", age))
        self._server = grpc.aio.server(options=options)
        add_VerifierServiceServicer_to_server(self, self._server)
        where = f"{host}:{port}"
        if identity:
            port = self._server.add_secure_port(where, identity.server_credentials())
        else:
            port = self._server.add_insecure_port(where)
        await self._server.start()
        return port

    async def stop(self) -> None:
        """At once: calls in flight break off."""
        await self._server.stop(None)
        self.held.set()


@dataclass
class Names(asyncio.DatagramProtocol):
    """A name server: every name has `hosts`, IPv4 addresses as they are now (RFC 1035, section 4.1)."""

    hosts: list[str] = field(default_factory=list)
    address: str = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        host, port = transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        end = data.index(0, 12) + 5  # of the question: a name, its type and class
        kind = struct.unpack("!H", data[end - 4 : end - 2])[0]
        hosts = self.hosts if kind == _A else []
        records = [struct.pack("!HHHIH4s", 0xC00C, _A, _IN, 0, 4, socket.inet_aton(host)) for host in hosts]
        header = data[:2] + struct.pack("!HHHHH", 0x8580, 1, len(records), 0, 0)
        self._transport.sendto(header + data[12:end] + b"".join(records), peer)


@asynccontextmanager
async def serving(*replicas: Replica) -> AsyncIterator[str]:
    """One target that stands for all of them."""
    async with AsyncExitStack() as stack:
        ports = []
        for replica in replicas:
            ports.append(await replica.start("127.0.0.1", 0))
            stack.push_async_callback(replica.stop)
        yield "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)


@asynccontextmanager
async def naming() -> AsyncIterator[Names]:
    """A name server on loopback."""
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", 0))
    try:
        yield names
    finally:
        transport.close()


async def ask(client: VerifierClient) -> None:
    async with asyncio.timeout(SECONDS):
        await client.verify([(Problem("p", "t", "s", "1"), "1")])


async def ask_until(client: VerifierClient, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await ask(client)


async def test_calls_take_turns() -> None:
    """Once both are connected each of two replicas gets every second call of one client."""
    one, other = Replica(), Replica()
    async with serving(one, other) as target, VerifierClient(target) as client:
        await ask_until(client, lambda: min(one.num_asked, other.num_asked) > 0)
        before = (one.num_asked, other.num_asked)
        for _ in range(10):
            await ask(client)
        assert (one.num_asked - before[0], other.num_asked - before[1]) == (5, 5)


async def test_the_death_of_a_replica_fails_no_call() -> None:
    """Calls that it had are answered by the other, and so are those that come after."""
    one, other = Replica(), Replica()
    async with serving(one, other) as target, VerifierClient(target) as client:
        await ask_until(client, lambda: min(one.num_asked, other.num_asked) > 0)
        one.held.clear()
        before = one.num_asked
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as calls:
            for _ in range(8):
                calls.create_task(ask(client))
            while one.num_asked == before:
                await asyncio.sleep(0.01)
            await one.stop()
            for _ in range(8):
                calls.create_task(ask(client))


async def test_clients_follow_a_name(tmp_path: Path) -> None:
    """A replica that comes gets calls and one that goes costs none; with TLS their certificates are for the name."""
    authority = Authority(tmp_path / "authority")
    server = Identity.of(authority.issue(tmp_path / "server", f"DNS:{NAME}"))
    identity = Identity.of(authority.issue(tmp_path / "client", "DNS:search.retrograde"))
    old, new = Replica(connection_seconds=0.5), Replica()
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(naming())
        port = await old.start("127.0.0.2", 0, server)
        stack.push_async_callback(old.stop)
        names.hosts = ["127.0.0.2"]
        target = f"dns://{names.address}/{NAME}:{port}"
        client = await stack.enter_async_context(VerifierClient(target, identity=identity))
        await ask(client)
        await new.start("127.0.0.3", port, server)
        stack.push_async_callback(new.stop)
        names.hosts = ["127.0.0.2", "127.0.0.3"]
        await ask_until(client, lambda: new.num_asked > 0)
        names.hosts = ["127.0.0.3"]
        await old.stop()
        for _ in range(8):
            await ask(client)
