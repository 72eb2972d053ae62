from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from services.inference.holding import Holding, waits_for_its_end


class Logprobs(NamedTuple):
    """As vLLM's LogprobsLists: a row for each token."""

    token_ids: Any
    logprobs: Any
    ranks: Any
    starts: Any = None


def _output(request_id: str, token: int, finish_reason: str | None = None, **fields: Any) -> SimpleNamespace:
    defaults = {"prefill_stats": None, "new_logprobs": None}
    return SimpleNamespace(
        request_id=request_id, new_token_ids=[token], finish_reason=finish_reason, **{**defaults, **fields}
    )


def _sampling(**fields: Any) -> SimpleNamespace:
    whole = {"output_kind": SimpleNamespace(name="FINAL_ONLY"), "detokenize": False, "prompt_logprobs": None}
    return SimpleNamespace(**{**whole, **fields})


def test_a_held_sequence_goes_out_once_and_whole() -> None:
    """Nothing goes out before the end; then one output has all tokens, the last reason and the first prompt account."""
    holding = Holding()
    holding.begin("a")
    assert holding.passed([_output("a", 1, prefill_stats="prompt")]) == []
    assert holding.passed([_output("a", 2)]) == []
    (whole,) = holding.passed([_output("a", 3, "stop")])
    assert (whole.new_token_ids, whole.finish_reason, whole.prefill_stats) == ([1, 2, 3], "stop", "prompt")
    assert len(holding) == 0


def test_log_probabilities_are_joined_in_order() -> None:
    """Each of the three arrays of the whole has a row for each token."""
    holding = Holding()
    holding.begin("a")
    rows = [Logprobs(np.array([[token]]), np.array([[-token / 2]]), np.array([token + 10])) for token in (1, 2)]
    holding.passed([_output("a", 1, new_logprobs=rows[0])])
    (whole,) = holding.passed([_output("a", 2, "length", new_logprobs=rows[1])])
    told = [array.tolist() for array in whole.new_logprobs[:3]]
    assert told == [[[1], [2]], [[-0.5], [-1.0]], [11, 12]]


def test_others_go_out_as_they_come() -> None:
    """An output of a request that is not held is passed on as the same object, in its place."""
    holding = Holding()
    holding.begin("a")
    first, second = _output("b", 1), _output("c", 2)
    assert holding.passed([first, _output("a", 9), second]) == [first, second]


def test_an_aborted_sequence_leaves_nothing() -> None:
    """What was held of it is gone, and a late output of it is passed on, not held again."""
    holding = Holding()
    holding.begin("a")
    holding.passed([_output("a", 1)])
    holding.forget("a")
    late = _output("a", 2)
    assert (len(holding), holding.passed([late])) == (0, [late])


@pytest.mark.parametrize(
    ("sampling", "waits"),
    [
        (_sampling(), True),
        (_sampling(detokenize=True), False),
        (_sampling(prompt_logprobs=0), False),
        (_sampling(output_kind=SimpleNamespace(name="DELTA")), False),
        (None, False),
    ],
    ids=["whole completion", "text in the front end", "log-probabilities of the prompt", "stream", "no sampling"],
)
def test_only_what_nobody_reads_meanwhile_waits(sampling: Any, *, waits: bool) -> None:
    """Whole completions without text in the front end wait for their end; streams, texts and scores do not."""
    assert waits_for_its_end(sampling) is waits
