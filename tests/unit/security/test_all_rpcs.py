"""Every RPC of every service, asked by everybody: who is let in, and what the others are told."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from retrograde.runtime.authorization import DOMAIN, WHO_MAY_CALL, Role
from tests.certificates import Authority
from tests.unit.security.rpcs import Rpc, rpcs
from tests.unit.security.started import described, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrograde.runtime.tls import TlsSettings

CODE = grpc.StatusCode
MAX_BYTES = 1 << 10
TOKEN = "correct-horse-battery-staple"  # noqa: S105 - for this test
TRAINER_OUTSIDE = "spiffe://partner/trl"
SERVICES = sorted(set(Role) - {Role.TOKEN})

every_rpc = pytest.mark.parametrize("rpc", rpcs(), ids=lambda rpc: rpc.path)


@dataclass(frozen=True)
class Everything:
    """A process that serves all of it, and the identities that call."""

    address: str
    public_address: str
    identities: dict[str, TlsSettings]
    stack: contextlib.ExitStack
    channels: dict[str, grpc.Channel]

    def as_(self, who: str) -> grpc.Channel:
        """A channel that shows this identity's certificate; one for each identity."""
        if who not in self.channels:
            tls = self.identities[who]
            files = (tls.authority, tls.key, tls.certificate)
            credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
            self.channels[who] = self.stack.enter_context(grpc.secure_channel(self.address, credentials))
        return self.channels[who]

    def without_certificate(self, address: str) -> grpc.Channel:
        """A channel that knows the server's authority and shows nothing."""
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(self.identities["cli"].authority.read_bytes()))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    folder = tmp_path_factory.mktemp("everything")
    authority, stranger = Authority(folder / "authority"), Authority(folder / "stranger", "stranger")
    identities = {role: authority.issue(folder / role, f"DNS:{role}{DOMAIN}") for role in SERVICES}
    identities["nobody"] = authority.issue(folder / "nobody", "DNS:nobody.example.com")
    identities["partner"] = authority.issue(folder / "partner", f"URI:{TRAINER_OUTSIDE}")
    identities["old style"] = authority.issue(folder / "old", common_name=f"cli{DOMAIN}")
    identities["stranger"] = stranger.issue(
        folder / "trainer-too", f"DNS:trainer{DOMAIN}", trusts=authority.certificate
    )
    tokens = folder / "tokens.yaml"
    tokens.write_text(f"alice: {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    settings = {
        "tls": described(identities["inference"]),
        "max_message_bytes": MAX_BYTES,
        "public_port": -1,
        "tokens": str(tokens),
        "callers": {TRAINER_OUTSIDE: "job"},
    }
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(started(folder, "tests.unit.security.all_services_program", **settings))
        ready = process.until("ready")
        yield Everything(ready["address"], ready["public_address"], identities, stack, {})


@every_rpc
def test_plaintext_is_refused(everything: Everything, rpc: Rpc) -> None:
    """Who speaks plaintext gets no connection."""
    with grpc.insecure_channel(everything.address) as channel:
        assert rpc.refusal(channel)[0] is CODE.UNAVAILABLE


@every_rpc
def test_no_certificate_is_refused(everything: Everything, rpc: Rpc) -> None:
    """Who shows no certificate gets no connection, a token or not."""
    with everything.without_certificate(everything.address) as channel:
        assert rpc.refusal(channel, metadata=bearer(TOKEN))[0] is CODE.UNAVAILABLE


@every_rpc
def test_a_stranger_is_refused(everything: Everything, rpc: Rpc) -> None:
    """A certificate in the trainer's name that another authority has signed opens nothing."""
    assert rpc.refusal(everything.as_("stranger"))[0] is CODE.UNAVAILABLE


@every_rpc
@pytest.mark.parametrize("role", SERVICES)
def test_each_identity_may_call_what_the_table_says(everything: Everything, rpc: Rpc, role: Role) -> None:
    """The right identities reach the servicer; a wrong one is told who it is, what it may not, and who may."""
    allowed = WHO_MAY_CALL[rpc.path]
    names = ", ".join(sorted(each + DOMAIN for each in allowed - {Role.TOKEN}))
    tokens = ", and tokens at the public port" if Role.TOKEN in allowed else ""
    denied = (CODE.PERMISSION_DENIED, f"{role}{DOMAIN} may not call {rpc.path}; {names} may{tokens}")
    assert rpc.refusal(everything.as_(role)) == ((CODE.OK, "") if role in allowed else denied)


@every_rpc
def test_a_name_that_means_nothing_may_call_nothing(everything: Everything, rpc: Rpc) -> None:
    """A certificate of the right authority for another name is told so under that name."""
    code, words = rpc.refusal(everything.as_("nobody"))
    assert (code, words.partition(";")[0]) == (
        CODE.PERMISSION_DENIED,
        f"nobody.example.com may not call {rpc.path}",
    )


@every_rpc
def test_an_oversized_request_is_refused(everything: Everything, rpc: Rpc) -> None:
    """More than max_message_bytes is RESOURCE_EXHAUSTED for who may call it."""
    role = min(WHO_MAY_CALL[rpc.path] - {Role.TOKEN})
    assert rpc.refusal(everything.as_(role), b"\n" * (MAX_BYTES + 1))[0] is CODE.RESOURCE_EXHAUSTED


@every_rpc
def test_a_trainer_from_outside_is_what_the_settings_say(everything: Everything, rpc: Rpc) -> None:
    """An identity under `callers`, here a URI, may call what its role may, and nothing else."""
    may = Role.JOB in WHO_MAY_CALL[rpc.path]
    assert rpc.refusal(everything.as_("partner"))[0] is (CODE.OK if may else CODE.PERMISSION_DENIED)


@every_rpc
def test_a_common_name_counts_where_there_is_no_other(everything: Everything, rpc: Rpc) -> None:
    """A certificate without names of its own is whom its common name says."""
    may = Role.CLI in WHO_MAY_CALL[rpc.path]
    assert rpc.refusal(everything.as_("old style"))[0] is (CODE.OK if may else CODE.PERMISSION_DENIED)


@every_rpc
def test_a_token_opens_the_public_doors_alone(everything: Everything, rpc: Rpc) -> None:
    """At the public port no token and a wrong one are UNAUTHENTICATED; the right one reaches what tokens may call."""
    right = CODE.OK if Role.TOKEN in WHO_MAY_CALL[rpc.path] else CODE.PERMISSION_DENIED
    with everything.without_certificate(everything.public_address) as channel:
        headers = ((), bearer("wrong"), (("authorization", f"Basic {TOKEN}"),), bearer(TOKEN))
        codes = [rpc.refusal(channel, metadata=header)[0] for header in headers]
    assert codes == [CODE.UNAUTHENTICATED, CODE.UNAUTHENTICATED, CODE.UNAUTHENTICATED, right]


def test_the_table_has_every_rpc() -> None:
    """Each RPC has a row, somebody in it, and no row is of an RPC that is gone."""
    assert {rpc.path for rpc in rpcs()} == set(WHO_MAY_CALL)
    assert all(allowed - {Role.TOKEN} for allowed in WHO_MAY_CALL.values())


def test_health_is_told_to_whoever_gets_a_connection(everything: Everything) -> None:
    """Clients ask for the health of replicas with any certificate of the authority's."""
    reply = health_pb2_grpc.HealthStub(everything.as_("nobody")).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)
