"""Who may call what, and who a caller is.

A caller over TLS is who its certificate names: `search.retrograde` among the names (DNS or URI, or else the common
name) is the search service, and what `callers` in the settings adds. At the public port there are no certificates, and
a caller is the owner of the token that it sends. A method that stands in no row here is nobody's.

In plaintext there is nobody to tell apart, so everything is open, but for what tokens may call where `tokens` are set.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from retrograde.runtime.errors import PermissionDeniedError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import grpc

    from retrograde.runtime.tokens import Tokens


class Role(StrEnum):
    """What a caller is to the platform."""

    INFERENCE = "inference"
    SEARCH = "search"
    VERIFIER = "verifier"
    REWRITER = "rewriter"
    ROLLOUTS = "rollouts"
    TRAINER = "trainer"
    JOB = "job"
    """A training job: the trainer's own, or a trainer from outside with a certificate."""
    CLI = "cli"
    """A person, and what a person runs."""
    TOKEN = "token"  # noqa: S105 - the role of a token's owner
    """Whoever has a token of the service that is called."""


_SAMPLERS = frozenset({Role.SEARCH, Role.REWRITER, Role.ROLLOUTS, Role.TRAINER})
_TRAINERS = frozenset({Role.JOB, Role.TRAINER, Role.TOKEN})  # jobs beside the trainer show its certificate
_PEOPLE = frozenset({Role.CLI, Role.TOKEN})

WHO_MAY_CALL: Mapping[str, frozenset[Role]] = {
    "/retrograde.v1.InferenceService/Generate": _SAMPLERS,
    "/retrograde.v1.InferenceService/Score": _SAMPLERS,
    "/retrograde.v1.InferenceService/LoadWeights": frozenset({Role.ROLLOUTS, Role.TRAINER}),
    "/retrograde.v1.InferenceService/GetModel": _SAMPLERS | {Role.CLI},
    "/retrograde.v1.VerifierService/Verify": _SAMPLERS | {Role.CLI},
    "/retrograde.v1.SearchService/Search": frozenset({Role.CLI}),
    "/retrograde.v1.RewriterService/Linearize": frozenset({Role.CLI}),
    "/retrograde.v1.RewriterService/Rewrite": frozenset({Role.CLI}),
    "/retrograde.v1.RolloutsService/OpenFeed": _TRAINERS,
    "/retrograde.v1.RolloutsService/PullRollouts": _TRAINERS,
    "/retrograde.v1.RolloutsService/AckRollouts": _TRAINERS,
    "/retrograde.v1.RolloutsService/PublishPolicy": _TRAINERS,
    "/retrograde.v1.TrainerService/CreateRun": _PEOPLE,
    "/retrograde.v1.TrainerService/GetRun": _PEOPLE,
    "/retrograde.v1.TrainerService/ListRuns": _PEOPLE,
    "/retrograde.v1.TrainerService/CancelRun": _PEOPLE,
    "/retrograde.v1.TrainerService/WatchRun": _PEOPLE,
    "/retrograde.v1.TrainerService/GetRunHistory": _PEOPLE,
    "/retrograde.v1.TrainerService/GetRunReport": _PEOPLE,
}
"""The whole table. Health and reflection are not in it: whoever gets a connection may ask for them."""

DOMAIN = ".retrograde"
"""Ends the name of each role but the token's: search.retrograde."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is what logs and refusals call it."""

    name: str
    roles: frozenset[Role]


class Doorkeeper:
    """Tells callers, and lets in who may call. `callers` maps more names of certificates to roles."""

    def __init__(self, callers: Mapping[str, Role], tokens: Tokens | None) -> None:
        own = {role + DOMAIN: role for role in Role if role is not Role.TOKEN}
        self._roles = {**own, **callers}
        self._tokens = tokens

    def admit(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """The caller's name. Raises UnauthenticatedError or PermissionDeniedError."""
        auth: Mapping[str, Iterable[bytes]] = context.auth_context()
        names = _names(auth)
        allowed = WHO_MAY_CALL.get(method, frozenset())
        is_encrypted = b"ssl" in auth.get("transport_security_type", ())
        if not is_encrypted and (self._tokens is None or Role.TOKEN not in allowed):
            return _host(str(context.peer()))
        caller = self._of_names(names) if names else self._of_token(context)
        if not caller.roles & allowed:
            raise PermissionDeniedError(f"{caller.name} may not call {method}; {_who(allowed)}")
        return caller.name

    def _of_names(self, names: list[str]) -> Caller:
        """The names that say something, all of them if none does."""
        known = [name for name in names if name in self._roles]
        return Caller(", ".join(known or names), frozenset(self._roles[name] for name in known))

    def _of_token(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        if self._tokens is None:
            raise UnauthenticatedError("no certificate; connect with one that the authority has signed")
        metadata = dict(context.invocation_metadata() or ())
        return Caller(self._tokens.owner(str(metadata.get("authorization", ""))), frozenset({Role.TOKEN}))


def _names(auth: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Those a certificate is for; its common name where it is for none. None without a certificate."""
    alternative = [*auth.get("peer_dns", ()), *auth.get("peer_uri", ())]
    return [name.decode("utf-8", "replace") for name in alternative or auth.get("x509_common_name", ())]


def _host(peer: str) -> str:
    """Of gRPC's name for the other end, ipv4:10.0.0.1:40312."""
    return peer.partition(":")[2].rpartition(":")[0] or peer


def _who(allowed: frozenset[Role]) -> str:
    if not allowed:
        return "nobody may"
    names = ", ".join(sorted(role + DOMAIN for role in allowed - {Role.TOKEN}))
    return f"{names} may{', and tokens at the public port' if Role.TOKEN in allowed else ''}"
