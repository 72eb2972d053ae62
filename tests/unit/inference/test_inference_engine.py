"""What the engine is told to do around a swap, by a model that only notes it down."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from retrograde.core.policy import Sampling
from retrograde.runtime.errors import UnavailableError
from services.inference.engine import Engine
from services.inference.tally import PromptTally
from tests.unit.inference.fakes_inference import FakeTokenizer


class NotedModel:
    """As much of vLLM as a swap needs; `told` is what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.model_config = SimpleNamespace(max_model_len=16, get_vocab_size=lambda: 9)
        self.engine_core = self

    def get_tokenizer(self) -> FakeTokenizer:
        return FakeTokenizer()

    async def pause_scheduler_async(self, *, mode: str, clear_cache: bool) -> None:
        assert not clear_cache
        self.told.append(mode)

    async def resume_generation(self) -> None:
        self.told.append("resume")


@pytest.mark.parametrize(("keep", "mode"), [(True, "keep"), (False, "wait")])
async def test_the_engine_goes_on_after_a_swap(keep: bool, mode: str) -> None:  # noqa: FBT001 - a parameter
    """Requests are kept or waited for, then go on, also when something failed meanwhile."""
    model = NotedModel()
    with pytest.raises(OSError, match="disk on fire"):
        async with Engine(model, PromptTally()).stopped(keep=keep):
            raise OSError("disk on fire")
    assert model.told == [mode, "resume"]


async def test_an_engine_that_is_given_up_draws_no_more() -> None:
    """Its weights are half loaded: it is not started again, what stayed is aborted, what comes is refused."""
    model = NotedModel()
    engine = Engine(model, PromptTally())
    async with engine.stopped(keep=True):
        engine.give_up("no weights")
    assert model.told == ["keep", "abort"]
    for call in (engine.generate([1], Sampling(), ()), engine.score([1], [2])):
        with pytest.raises(UnavailableError, match=r"^engine: no weights; "):
            await call
