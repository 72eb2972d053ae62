from __future__ import annotations

import numpy as np
import pytest

from retrograde.core.policy import Prompt, Sampling
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import inference_service_pb2 as pb
from retrograde.wire.convert_rollout import int32_to_proto
from services.inference.servicer import ask_from_proto
from services.inference.serving import Ask

SAMPLING = pb.Sampling(n=2, temperature=0.5, max_tokens=9, stop=["\n"], stop_token_ids=[4], include_stop=True, seed=7)
DOMAIN_SAMPLING = Sampling(n=2, temperature=0.5, max_tokens=9, stop=("\n",), include_stop=True, seed=7)


@pytest.mark.parametrize(
    ("request_", "prompt"),
    [
        (pb.GenerateRequest(text="a", assistant_prefix="b"), Prompt("a", begun="b")),
        (pb.GenerateRequest(chat="a", assistant_prefix="b"), Prompt("a", chat=True, begun="b")),
        (pb.GenerateRequest(token_ids=int32_to_proto(np.array([1, 2], np.int32))), (1, 2)),
    ],
    ids=["text", "chat", "token ids"],
)
def test_a_request_is_converted_whole(request_: pb.GenerateRequest, prompt: Prompt | tuple[int, ...]) -> None:
    """Each kind of prompt arrives with its sampling, stop token ids, least version and version."""
    request_.sampling.CopyFrom(SAMPLING)
    request_.min_policy_version = 3
    request_.policy_version = 4
    assert ask_from_proto(request_) == Ask(prompt, DOMAIN_SAMPLING, (4,), 3, 4)


def test_a_request_without_a_prompt_is_refused() -> None:
    """None of the three kinds of prompt set is the caller's mistake."""
    with pytest.raises(InvalidInputError, match=r"^prompt: none is given"):
        ask_from_proto(pb.GenerateRequest(sampling=SAMPLING))
