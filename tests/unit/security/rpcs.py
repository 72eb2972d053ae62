"""All RPCs of all services, by the descriptors: a new one is in every test that goes through them."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message_factory import GetMessageClass

import retrograde.v1

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor


@dataclass(frozen=True)
class Rpc:
    """One method of one service."""

    method: MethodDescriptor

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def call(self, channel: grpc.Channel, request: bytes = b"", timeout: float = 60.0, **options: Any) -> None:
        """Calls it with these bytes, to the end. Raises grpc.RpcError."""
        if self.method.server_streaming:
            list(channel.unary_stream(self.path)(request, timeout=timeout, **options))
        else:
            channel.unary_unary(self.path)(request, timeout=timeout, **options)

    def refusal(self, channel: grpc.Channel, request: bytes = b"", **options: Any) -> tuple[grpc.StatusCode, str]:
        """Code and words of the error it is answered with; OK and nothing when it is not."""
        try:
            self.call(channel, request, **options)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""


def services() -> Iterator[ServiceDescriptor]:
    for module in pkgutil.iter_modules(retrograde.v1.__path__):
        if module.name.endswith("_service_pb2"):
            loaded = importlib.import_module(f"retrograde.v1.{module.name}")
            yield from loaded.DESCRIPTOR.services_by_name.values()


def rpcs() -> list[Rpc]:
    return [Rpc(method) for service in services() for method in service.methods]


def add_to_server(service: ServiceDescriptor, server: grpc.aio.Server) -> None:
    """Serves every method with an empty reply."""
    handlers = {method.name: _handler(method) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _handler(method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    request, reply = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

    async def answer(_request: object, _context: object) -> Any:
        return reply()

    async def stream(_request: object, _context: object) -> AsyncIterator[Any]:
        yield reply()

    codec = {"request_deserializer": request.FromString, "response_serializer": reply.SerializeToString}
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(stream, **codec)
    return grpc.unary_unary_rpc_method_handler(answer, **codec)
