"""The inference service with a bug: prefixes outlive a weight swap."""

from __future__ import annotations

from services.inference import __main__ as service
from services.inference.engine import Engine


async def _forget_nothing(_engine: Engine) -> None:
    """What a service does that relies on the cache's keys."""


Engine.forget_prefixes = _forget_nothing  # type: ignore[method-assign]

if __name__ == "__main__":
    service.main()
