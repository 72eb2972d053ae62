"""A consumer that reads some groups and acknowledges none.

    python -m tests.integration.rollouts.standing_consumer ADDRESS FEED CONSUMER NUM_READ MAX_UNACKNOWLEDGED

It prints the ids it read, one a line, and then stands with its stream open until it is killed.
"""

from __future__ import annotations

import asyncio
import sys

from retrograde.wire.clients import RolloutsClient


async def stand(address: str, feed: str, consumer: str, num_read: int, max_unacknowledged: int) -> None:
    """Until the process is ended."""
    async with RolloutsClient(address) as client:
        groups = client.pull(feed, 1_000_000, consumer=consumer, max_unacknowledged=max_unacknowledged)
        for _ in range(num_read):
            print((await anext(groups)).id, flush=True)  # noqa: T201 - whoever started it reads them
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(stand(*sys.argv[1:4], *map(int, sys.argv[4:])))  # type: ignore[call-arg,arg-type]
