"""What stands before the HTTP API: the token, the caller's rate, the number of requests, the size of each.

    401 no token, or one that nobody has      429 too many requests, with Retry-After
    411 a body that does not say its length   413 a larger body than max_message_bytes

Where no tokens are set (without TLS, or on loopback) anybody may ask, and a caller is a host. `/health` is told to
everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import ssl
from typing import TYPE_CHECKING, Any

from retrograde.runtime.errors import RateLimitedError, UnauthenticatedError
from retrograde.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from retrograde.runtime.rates import Rates
    from retrograde.runtime.tls import Identity, TlsSettings
    from retrograde.runtime.tokens import Tokens

    Send = Callable[[dict[str, Any]], Awaitable[None]]

_OPEN_PATH = "/health"
_TOO_LONG, _NO_LENGTH = 413, 411
_LOOK_SECONDS = 5.0

log = get_logger(__name__)


class HttpDoor:
    """An ASGI app before another one."""

    def __init__(
        self, app: Any, tokens: Tokens | None, rates: Rates, max_bytes: int, max_calls: int | None = None
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._rates = rates
        self._max_bytes = max_bytes
        self._max_calls = max_calls
        self._num_calls = 0

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Send) -> None:
        """See ASGI."""
        is_request = scope["type"] in {"http", "websocket"} and scope["path"] != _OPEN_PATH
        refusal = self._refusal(scope) if is_request else None
        if refusal is None:
            with self._counted() if is_request else contextlib.nullcontext():
                await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _answer(send, *refusal)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._num_calls += 1
        try:
            yield
        finally:
            self._num_calls -= 1

    def _refusal(self, scope: Mapping[str, Any]) -> tuple[int, str, dict[str, str]] | None:
        """Status, words and headers; None lets the request in."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = (scope.get("client") or ("",))[0]
        try:
            caller = self._tokens.owner(headers.get("authorization", "")) if self._tokens else host
            self._rates.take(caller)
        except UnauthenticatedError as error:
            return 401, str(error), {"www-authenticate": "Bearer"}
        except RateLimitedError as error:
            return 429, str(error), {"retry-after": str(math.ceil(error.retry_seconds))}
        if self._max_calls is not None and self._num_calls >= self._max_calls:
            return 429, f"{self._num_calls} requests are being answered (max_concurrent_calls)", {"retry-after": "1"}
        if "transfer-encoding" in headers:
            return _NO_LENGTH, "content-length: missing; send the body's length instead of chunks", {}
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._max_bytes:
            return _TOO_LONG, f"content-length: {length} bytes; at most {self._max_bytes} (max_message_bytes)", {}
        return None


async def _answer(send: Send, status: int, message: str, headers: dict[str, str]) -> None:
    """As the API tells errors."""
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": status}}).encode()
    sent = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def follow_files(context: ssl.SSLContext, settings: TlsSettings, identity: Identity) -> None:
    """Takes renewed certificates over, for connections from then on; never returns."""
    shown = identity.current()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if (now := identity.current()) is not shown:
            with contextlib.suppress(ssl.SSLError, OSError):  # replaced again this moment; looked at again soon
                context.load_cert_chain(settings.certificate, settings.key)
                shown = now
