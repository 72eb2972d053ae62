"""From a ticket to a group that can be delivered, or to a prompt that counts as used without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from retrograde.core.problem import Problem
from services.rollouts.delivery import Delivery
from services.rollouts.fruitless import fruitless, rests
from services.rollouts.journal import Journal
from services.rollouts.metrics import observe
from services.rollouts.sampling import Sampler, right_share
from services.rollouts.settings import FeedSettings
from services.rollouts.tickets import Ticket, prompt_order


@dataclass(slots=True)
class Maker:
    """Of one feed."""

    problems: Sequence[Problem]
    settings: FeedSettings
    journal: Journal
    sampler: Sampler
    newest_version: int = 0
    _fruitless_in_a_row: Counter[str] = field(default_factory=Counter)

    @property
    def most_at_once(self) -> int:
        """More groups than this are never sampled at the same time."""
        return self.sampler.slots.num_slots

    async def group(self, ticket: Ticket) -> Delivery | None:
        """A group of the ticket's prompt; None where the prompt was dropped, which the ledger then says.

        Raises what failed, and what is wrong when nothing else than dropped prompts has come for long.
        """
        prompt = prompt_order(len(self.problems), self.settings.seed, ticket.epoch)[ticket.position]
        if rests(self.journal.tickets.rates.get(prompt), ticket.epoch, self.settings):
            await self.journal.drop(ticket, "resting")
            return None
        sampled = await self.sampler.group(ticket, self.problems[prompt])
        if sampled is None:
            await self._drop_fruitless(ticket, "ungraded")
            return None
        self._fruitless_in_a_row["ungraded"] = 0
        group = Delivery.of(ticket, sampled)
        self.newest_version = max(self.newest_version, group.policy_version)
        if self.settings.pass_rate_band:
            self.journal.note_rate(ticket.epoch, prompt, right_share(sampled))
        if self.settings.drop_equal_groups and len({sample.reward for sample in sampled.samples}) == 1:
            observe(group.lengths, "equal")
            await self._drop_fruitless(ticket, "equal")
            return None
        self._fruitless_in_a_row["equal"] = 0
        return group

    async def _drop_fruitless(self, ticket: Ticket, reason: str) -> None:
        """Raises what is wrong when nothing else has come for long; counting begins again then."""
        await self.journal.drop(ticket, reason)
        self._fruitless_in_a_row[reason] += 1
        if error := fruitless(reason, self._fruitless_in_a_row[reason], len(self.problems)):
            self._fruitless_in_a_row[reason] = 0
            raise error
