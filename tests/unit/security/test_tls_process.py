"""A process with an identity: who it lets in, how probes see it, and that renewing certificates costs no call."""

from __future__ import annotations

import asyncio
import hashlib
import operator
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from retrograde.core.problem import Problem
from retrograde.runtime.errors import UnavailableError
from retrograde.runtime.tls import Identity
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceStub
from retrograde.wire.clients import VerifierClient
from tests.certificates import Authority
from tests.unit.runtime.process_service import health
from tests.unit.security.started import SECONDS, described, started

if TYPE_CHECKING:
    from pathlib import Path

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SLEEPER = "tests.unit.runtime.process_program"
NAME = "DNS:search.retrograde"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def ask(client: VerifierClient, seconds: float = 0) -> None:
    await asyncio.wait_for(client.verify([(Problem("p", "t", "s", "1"), str(seconds))]), SECONDS)


def until_not_serving(probe: grpc.Channel) -> None:
    while health(probe) != NOT_SERVING:
        time.sleep(0.01)


async def test_a_probe_sees_the_health_of_a_process_that_speaks_tls(tmp_path: Path, authority: Authority) -> None:
    """The health port answers in plaintext, on health alone, and says NOT_SERVING while a call is waited for."""
    tls = described(authority.issue(tmp_path / "tls", "DNS:verifier.retrograde"))
    identity = Identity.of(authority.issue(tmp_path / "client", "DNS:search.retrograde"))
    with started(tmp_path, SLEEPER, tls=tls, health_port=-1, drain_seconds=SECONDS) as service:
        ready = service.until("ready")
        with grpc.insecure_channel(ready["health_address"]) as probe:
            assert (health(probe), health(probe, "retrograde.v1.VerifierService")) == (SERVING, SERVING)
            with pytest.raises(grpc.RpcError) as refused:
                VerifierServiceStub(probe).Verify(pb.VerifyRequest(), timeout=SECONDS)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            async with VerifierClient(ready["address"], identity=identity) as client:
                call = asyncio.create_task(ask(client, seconds=SECONDS))
                await asyncio.to_thread(service.until, "sleeping")
                stopping = asyncio.create_task(asyncio.to_thread(service.stop))
                await asyncio.to_thread(until_not_serving, probe)
                call.cancel()
                await asyncio.wait([call])
        assert await stopping == 0


async def test_calls_at_the_public_port_take_no_place_of_the_services(tmp_path: Path, authority: Authority) -> None:
    """Somebody without certificate or token fills it, and a call at the other port is answered."""
    tls = described(authority.issue(tmp_path / "tls", "DNS:verifier.retrograde"))
    identity = Identity.of(authority.issue(tmp_path / "client", NAME))
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"alice: {hashlib.sha256(b'one').hexdigest()}\n")
    doors = {"tls": tls, "tokens": str(tokens), "public_port": -1}
    with started(tmp_path, SLEEPER, **doors, max_concurrent_calls=1) as service:
        ready = service.until("ready")
        with grpc.secure_channel(
            ready["public_address"], grpc.ssl_channel_credentials(authority.certificate.encode())
        ) as outside:
            stream = health_pb2_grpc.HealthStub(outside).Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
            assert next(stream).status == SERVING
            async with VerifierClient(ready["address"], identity=identity) as client:
                await ask(client)
            stream.cancel()


def test_a_certificate_that_is_missing_stops_the_start(tmp_path: Path, authority: Authority) -> None:
    """One line on stderr names the field and the file, and the status is 2."""
    tls = described(authority.issue(tmp_path / "tls", "DNS:verifier.retrograde"))
    with started(tmp_path, SLEEPER, tls=tls | {"key": "/nowhere/tls.key"}) as service:
        status = service.process.wait(SECONDS)
    last = service.log.read_text().splitlines()[-1]
    assert (status, last) == (
        2,
        "error: sleeper: tls.key: /nowhere/tls.key: No such file or directory; name a file that can be read",
    )


class Load:
    """Calls without pause: on one connection, and on a new one each. None is tried again, and none may fail."""

    def __init__(self, address: str, identity: Identity) -> None:
        self._address = address
        self._identity = identity
        self._answered = [0, 0]

    async def more(self, num_calls: int = 10) -> None:
        """Waits until each way has had so many more answers."""
        wanted = [answered + num_calls for answered in self._answered]
        while any(map(operator.lt, self._answered, wanted)):
            await asyncio.sleep(0.01)

    def client(self) -> VerifierClient:
        return VerifierClient(self._address, identity=self._identity, patience_seconds=0)

    async def on_one(self) -> None:
        async with self.client() as client:
            while True:
                await ask(client)
                self._answered[0] += 1

    async def on_new_ones(self) -> None:
        while True:
            async with self.client() as client:
                await ask(client)
            self._answered[1] += 1


async def test_a_rotation_of_everything_costs_no_call(tmp_path: Path, authority: Authority) -> None:
    """Certificates of both sides and the authority itself are replaced under load, and no call fails.

    A call that began before it all is answered too; in the end a certificate of the old authority opens nothing.
    """
    new = Authority(tmp_path / "new", "new-authority")
    both = authority.certificate + new.certificate
    server, client = tmp_path / "server", tmp_path / "client"
    identity, old = (Identity.of(authority.issue(folder, NAME, trusts=both)) for folder in (client, tmp_path / "old"))
    with started(tmp_path, SLEEPER, tls=described(authority.issue(server, NAME))) as service:
        address = service.until("ready")["address"]
        await rotate(Load(address, identity), authority, new, (server, client))
        with pytest.raises(UnavailableError):
            async with VerifierClient(address, identity=old, patience_seconds=0) as late:
                await ask(late)
        assert service.stop() == 0


async def rotate(load: Load, old: Authority, new: Authority, folders: tuple[Path, Path]) -> None:
    """Renews both identities step by step from `old` to `new`, while calls are answered."""
    both = old.certificate + new.certificate
    async with load.client() as early, asyncio.TaskGroup() as group:
        long = group.create_task(ask(early, seconds=1.5))
        tasks = [group.create_task(load.on_one()), group.create_task(load.on_new_ones())]
        for signer, trusts in ((old, both), (new, both), (new, new.certificate)):
            for folder in folders:
                signer.issue(folder, NAME, trusts=trusts)
                await load.more()
        await long
        for task in tasks:
            task.cancel()
