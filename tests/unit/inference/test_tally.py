from __future__ import annotations

from types import SimpleNamespace

from services.inference.tally import PromptTally


def test_prompt_tokens_add_up() -> None:
    """Computed and cached tokens of each batch of statistics are added; a message without statistics adds none."""
    tally = PromptTally()
    for computed, cached in ((40, 0), (8, 32)):
        stats = SimpleNamespace(computed=computed, cached_tokens=cached)
        tally.record(None, SimpleNamespace(prompt_token_stats=stats), mm_cache_stats=None, engine_idx=0)
    tally.record(None, None, mm_cache_stats=None, engine_idx=0)
    assert (tally.num_prefilled_tokens, tally.num_cached_tokens) == (48, 32)
