"""The run's budget, kept by what is queued: a tree is begun only when the most it may spend is left.

    spent by stored trees + the most that queued ones may spend + the most of one more <= the run's budget

Each tree keeps its own limit (docs/searches.md), so the run keeps its own whatever the number of workers. A problem
that was queued and given up counts with the most it may have spent: nobody knows what it did spend.
"""

from __future__ import annotations

from retrograde.core.problem import Cost
from retrograde.core.settings import SearchSettings
from retrograde.recipe.recipe import RunBudget


def num_affordable(budget: RunBudget, search: SearchSettings, spent: Cost, num_unfinished: int, num_wanted: int) -> int:
    """How many of `num_wanted` further trees may be queued beside `num_unfinished` queued ones without a tree."""
    limits = (
        (budget.max_calls, search.max_calls, spent.model_calls),
        (budget.max_generated_tokens, search.max_generated_tokens, spent.generated_tokens),
    )
    fitting = [(limit - used) // per_tree - num_unfinished for limit, per_tree, used in limits if limit]
    return max(0, min([num_wanted, *fitting]))
