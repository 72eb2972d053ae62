"""Many requests at once, and swaps among them: after so many answers the next swap, until all are answered."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from retrograde.core.policy import Generation, InFlight, Prompt, Sampling
from retrograde.wire.clients import InferenceClient

PROMPTS = tuple(Prompt(f"{number} " + "3 4 5 + 7 = 12, " * 14) for number in range(8))  # over three cache blocks each
DEADLINE_SECONDS = 300.0


@dataclass
class Crowd:
    """What came of it: answers, failures, and the model of each version."""

    names: dict[int, str]
    answers: list[Generation] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, client: InferenceClient, number: int) -> None:
        """Request `number`: of one of the prompts, and longer or shorter than the one before."""
        greedy = Sampling(temperature=0.0, max_tokens=8 + number % 32)
        try:
            self.answers.append(await client.generate(PROMPTS[number % len(PROMPTS)], greedy))
        except Exception as error:  # noqa: BLE001 - whatever a caller sees is a failure here
            self.failures.append(error)
        self.answered.set()

    async def wait_for(self, num_replies: int) -> None:
        while len(self.answers) + len(self.failures) < num_replies:
            self.answered.clear()
            await self.answered.wait()


async def crowd(client: InferenceClient, num_requests: int, num_swaps: int) -> Crowd:
    """The checkpoints "a" and "b" in turn, with each way of dealing with running requests in turn, finishing last."""
    version, _ = await client.load_weights("a")
    seen = Crowd({version: "a"})
    ways = itertools.cycle((InFlight.CONTINUE, InFlight.BEGIN_AGAIN))
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
        for number in range(num_requests):
            group.create_task(seen.ask(client, number))
        for number in range(1, num_swaps + 1):
            await seen.wait_for(num_requests * number // (num_swaps + 1))
            in_flight = next(ways) if number < num_swaps else InFlight.FINISH
            name = "ab"[number % 2]
            version, _ = await client.load_weights(name, in_flight=in_flight)
            seen.names[version] = name
    return seen
