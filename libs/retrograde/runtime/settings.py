"""The settings of a process: one frozen tree, read from one YAML file, refused whole when anything in it is wrong.

`load_settings` is the first line of every service's `main`. What is wrong is printed as one line that names the file,
the path inside it, the value and the fix, and the process leaves with status 2 before any work has started. There are
no environment overrides: a Kubernetes Service named like a prefix would inject variables.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, Self, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from retrograde.runtime.authorization import Role
from retrograde.runtime.spans import TracingSettings
from retrograde.runtime.tls import TlsSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

BAD_INPUT_STATUS = 2
_MAX_PORT = 65535


def _host_and_port(address: str) -> str:
    """Returns `address` when it is `host:port`; ValueError with the fix otherwise."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > _MAX_PORT:
        raise ValueError("write host:port, for example 127.0.0.1:50051 (port 0 picks a free one)")
    return address


def _joined(addresses: object) -> object:
    """A list of addresses as one text, with commas between them."""
    if isinstance(addresses, list | tuple) and all(isinstance(each, str) for each in addresses):
        return ",".join(addresses)
    return addresses


def _hosts_and_ports(addresses: str) -> str:
    """Returns `addresses` without spaces when each is one; ValueError with the fix otherwise."""
    parts = [part.strip() for part in addresses.split(",")]
    for part in parts:
        _host_and_port(part.removeprefix(DNS_PREFIX))
    if len(set(parts)) < len(parts):
        raise ValueError("an address is there twice; name each replica once")
    return ",".join(parts)


DNS_PREFIX = "dns:///"
"""Before a name that stands for all addresses it resolves to, now and later: a headless Service, say."""

Address = Annotated[str, AfterValidator(_host_and_port)]

Addresses = Annotated[str, BeforeValidator(_joined), AfterValidator(_hosts_and_ports)]
"""The replicas of a service: host:port, several with commas between or as a list, or dns:///name:port."""


class ServiceSettings(BaseModel):
    """What every service is told; a service's own settings extend it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: Address = Field("127.0.0.1:0", description="host:port of the gRPC server; port 0 picks a free one.")
    metrics_port: int = Field(
        0, ge=-1, le=_MAX_PORT, description="Prometheus over HTTP, on the host of `listen`: 0 is off, -1 picks a port."
    )
    health_port: int = Field(
        0,
        ge=-1,
        le=_MAX_PORT,
        description="grpc.health.v1 alone and in plaintext, on the host of `listen`, for probes that speak no TLS: "
        "0 is off, -1 picks a port.",
    )
    tls: TlsSettings | None = Field(
        None,
        description="certificate, key and authority: PEM files of this process, as a server and as a client, read "
        "again when they change; without them it speaks plaintext.",
    )
    callers: dict[str, Role] = Field(
        {}, description="More names of certificates, and as whom each may call: {trl.example.com: job}."
    )
    tokens: Path | None = Field(
        None,
        description="YAML of NAME: SHA-256 of a token, read again when it changes: who may use the public doors. "
        "Tokens are taken at public_port and by the HTTP API; in plaintext on loopback only.",
    )
    public_port: int = Field(
        0,
        ge=-1,
        le=_MAX_PORT,
        description="TLS without client certificates, on the host of `listen`: callers send a token instead. 0 is off, "
        "-1 picks a port.",
    )
    broker: str = Field("", description="sqlite:///ABSOLUTE/PATH.db; only services that use a broker need one.")
    store: str = Field("", description="file:///ABSOLUTE/DIRECTORY; only services that use a store need one.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level written.")
    tracing: TracingSettings = Field(
        TracingSettings(), description="endpoint and sample_ratio: where spans are sent, and of how many traces."
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="After SIGTERM, how long work in flight may take to end or to be handed back."
    )
    max_message_bytes: int = Field(
        64 << 20, ge=1 << 10, description="Largest request read; a larger one is RESOURCE_EXHAUSTED."
    )
    max_concurrent_calls: int | None = Field(
        None,
        ge=1,
        description="Calls answered at once at each port, those of health included; more are RESOURCE_EXHAUSTED.",
    )
    max_calls_per_second: float | None = Field(
        None,
        gt=0,
        description="Calls that one caller may begin, health's not counted; more are RESOURCE_EXHAUSTED and told when "
        "to call again. A caller is a certificate's name, a token's owner or, in plaintext, a host.",
    )

    @model_validator(mode="after")
    def _tokens_are_encrypted(self) -> Self:
        if self.public_port and not (self.tls and self.tokens):
            raise ValueError("public_port: it speaks TLS and takes tokens; set tls and tokens, or public_port: 0")
        if self.tokens and not self.tls and not is_loopback(self.listen.rpartition(":")[0]):
            raise ValueError("tokens: not in plaintext over a network; set tls, or listen on 127.0.0.1")
        return self


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class WorkerSettings(ServiceSettings):
    """What a service that takes messages from a topic is told besides."""

    max_trees: int = Field(32, ge=1, description="Messages handled at the same time; each is about one tree.")
    max_attempts: int = Field(3, ge=1, description="Failures of one message before it is a dead letter.")
    backoff_seconds: float = Field(
        1.0, gt=0, description="Pause before a message is tried again; it doubles each time, up to 30."
    )
    deadline_seconds: float = Field(
        3600.0, gt=0, description="Longest an attempt at a message may take; then it is ended, and has failed."
    )


AnySettings = TypeVar("AnySettings", bound=BaseModel)


def load_settings(cls: type[AnySettings], argv: Sequence[str] | None = None) -> AnySettings:
    """Reads `--config FILE.yaml` into `cls`; prints one line and exits with status 2 when it cannot."""
    args = _parser(cls).parse_args(argv)
    try:
        return cls.model_validate(_read_yaml(args.config))
    except OSError as error:
        _refuse(f"{args.config}: {error.strerror}; pass --config with a YAML file that can be read")
    except yaml.YAMLError as error:
        _refuse(f"{args.config}: {_one_line(str(error))}; correct the YAML there")
    except ValidationError as error:
        _refuse(f"{args.config}: " + "; ".join(_fault(cls, details) for details in error.errors()))


def _refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - logging is not set up yet: these settings say how
    raise SystemExit(BAD_INPUT_STATUS)


def _parser(cls: type[BaseModel]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_module_of(cls)}",
        description=(cls.__doc__ or "").partition("\n")[0],
        epilog="keys of FILE.yaml:\n" + "\n".join(_key_help(cls)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, type=Path, metavar="FILE.yaml", help="the settings of this process")
    return parser


def _module_of(cls: type[BaseModel]) -> str:
    """`services.search` for services.search.settings.SearchSettings."""
    return cls.__module__.rpartition(".")[0] or cls.__module__


def _key_help(cls: type[BaseModel]) -> list[str]:
    """One line for each key: name, default, description."""
    lines = []
    for name, info in cls.model_fields.items():
        default = "required" if info.is_required() else f"default {info.get_default(call_default_factory=True)!r}"
        lines.append(f"  {name}: {info.description or ''} ({default})")
    return lines


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, where YAML would keep the last one silently."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _read_yaml(path: Path) -> object:
    """The document in `path`; {} for an empty file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(f"byte {error.start} is not UTF-8") from error
    document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    return {} if document is None else document


def _fault(cls: type[BaseModel], details: ErrorDetails) -> str:
    """`path: what is wrong, with the value; the fix` for one fault pydantic found."""
    path = ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(details["loc"][-1]), _keys_at(cls, details["loc"][:-1]), n=1)
        return f"{path}: unknown key; " + (
            f"did you mean '{near[0]}'?" if near else "delete it (--help lists the keys)"
        )
    if details["type"] == "missing":
        return f"{path}: required; add it"
    if details["type"] in {"model_type", "model_attributes_type"}:
        return f"{path or 'the document'} must be a mapping of keys to values, not {details['input']!r}"
    message = _one_line(details["msg"].removeprefix("Value error, "))
    return f"{path}: {details['input']!r}: {message}" if path else message  # about several keys: it names them


def _keys_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys of the settings at `path` inside `cls`; [] where there are no settings."""
    for part in path:
        info = cls.model_fields.get(str(part))
        kinds = [] if info is None else [info.annotation, *get_args(info.annotation)]  # X | None has X among them
        found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not found:
            return []
        cls = found[0]
    return list(cls.model_fields)


def _one_line(text: str) -> str:
    return " ".join(text.split())
