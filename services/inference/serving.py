"""The served policy: checks a request, passes the gate, asks the engine, stamps the versions.

A request's policy version is read inside the gate, where no swap can happen until the answer is complete, or interrupts
it, or lets it go on under newer weights: then a second version, read at its end, says so. What was interrupted begins
again. See swaps.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from retrograde.core.policy import Generation, Prompt, Sampling
from retrograde.runtime.errors import InvalidInputError, OverloadedError, StalePolicyError
from services.inference import metrics
from services.inference.gate import InterruptedBySwapError
from services.inference.shares import EngineTime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from services.inference.engine import Drawn
    from services.inference.shares import Share
    from services.inference.swaps import Swaps
    from services.inference.tally import PromptTally
    from services.inference.words import Words

T = TypeVar("T")


class Engine(Protocol):
    """What is asked of the engine; services.inference.engine.Engine is it in production."""

    words: Words
    max_model_tokens: int
    num_token_ids: int
    prompts: PromptTally

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, stop_token_ids: Sequence[int]) -> Drawn:
        """`sampling.n` completions."""

    async def score(self, prompt_ids: Sequence[int], continuation_ids: Sequence[int]) -> float:
        """Log-probability of the continuation."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a prompt in words or in token ids, and how to draw."""

    prompt: Prompt | tuple[int, ...]
    sampling: Sampling
    stop_token_ids: tuple[int, ...] = ()
    min_policy_version: int = 0
    policy_version: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """One per continuation: summed log-probability in nats, and tokens."""

    logprobs: tuple[float, ...]
    num_tokens: tuple[int, ...]
    policy_version: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller, and all together, may ask for, and how many sequences one engine step can hold."""

    max_n: int
    max_pending_sequences: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True)
class Load:
    """How full the engine is, in sequences, and prompt tokens computed and found in its cache so far."""

    max_num_seqs: int
    num_running: int
    num_waiting: int
    num_prefilled_tokens: int
    num_cached_tokens: int


class PolicyServer:
    """Serves one model; `swaps` knows which weights."""

    def __init__(self, engine: Engine, limits: Limits, swaps: Swaps) -> None:
        self.swaps = swaps
        self.gate = swaps.gate
        self._engine = engine
        self._limits = limits
        self._pending_sequences = 0
        self._sequences_inside = 0
        self._time = EngineTime()
        metrics.RUNNING_REQUESTS.set_function(lambda: self.gate.inside)
        metrics.WAITING_REQUESTS.set_function(lambda: self.gate.waiting)

    @property
    def policy_version(self) -> int:
        """Served now."""
        return self.swaps.served.policy_version

    @property
    def max_model_tokens(self) -> int:
        """Prompt and completion together."""
        return self._engine.max_model_tokens

    @property
    def load(self) -> Load:
        """Now, known here without asking the engine."""
        running = min(self._sequences_inside, self._limits.max_num_seqs)
        prompts = self._engine.prompts
        return Load(
            max_num_seqs=self._limits.max_num_seqs,
            num_running=running,
            num_waiting=self._pending_sequences - running,
            num_prefilled_tokens=prompts.num_prefilled_tokens,
            num_cached_tokens=prompts.num_cached_tokens,
        )

    async def generate(self, ask: Ask) -> Generation:
        """Draws the completions asked for; a completion that reaches the model's length ends with "length".

        Raises:
            InvalidInputError: a field is out of range, or the prompt fills the model's length.
            OverloadedError: too many sequences are pending.
            StalePolicyError: the policy is older than asked for, or not the one asked for.
        """
        ids = self._encode(ask.prompt)
        self._check(ask, ids)
        self._take(ask.sampling.n)
        shares: list[Share] = []
        try:
            return await self._answered(lambda: self._generate(ask, ids, shares), may_stay=not ask.policy_version)
        finally:
            self._pending_sequences -= ask.sampling.n

    async def _answered(self, work: Callable[[], Awaitable[T]], *, may_stay: bool) -> T:
        """What `work` gives inside the gate; begun again as often as a swap interrupts it."""
        while True:
            try:
                async with self.gate.passing(may_stay=may_stay):
                    return await work()
            except InterruptedBySwapError:
                metrics.BEGUN_AGAIN_REQUESTS.inc()

    async def _generate(self, ask: Ask, ids: Sequence[int], shares: list[Share]) -> Generation:
        version = self.policy_version
        _check_version(ask, version)
        with self._time.share(ask.sampling.n) as share, self._inside(ask.sampling.n):
            shares.append(share)
            drawn = await self._engine.generate(ids, ask.sampling, ask.stop_token_ids)
        metrics.PROMPT_TOKENS.inc(len(ids))
        metrics.CACHED_TOKENS.inc(drawn.cached_tokens)
        metrics.GENERATED_TOKENS.inc(sum(each.num_tokens for each in drawn.completions))
        return Generation(
            completions=drawn.completions,
            policy_version=version,
            prompt_token_ids=np.asarray(ids, np.int32),
            cached_tokens=drawn.cached_tokens,
            engine_seconds=sum(each.seconds for each in shares),
            last_policy_version=self.policy_version,
        )

    @contextlib.contextmanager
    def _inside(self, num_sequences: int) -> Iterator[None]:
        """While the engine has them."""
        self._sequences_inside += num_sequences
        try:
            yield
        finally:
            self._sequences_inside -= num_sequences

    def _encode(self, prompt: Prompt | tuple[int, ...]) -> Sequence[int]:
        return self._engine.words.encode(prompt) if isinstance(prompt, Prompt) else prompt

    def _check(self, ask: Ask, ids: Sequence[int]) -> None:
        """Raises InvalidInputError, naming the field, for what the engine could not do."""
        sampling, most = ask.sampling, self.max_model_tokens
        if sampling.n > self._limits.max_n:
            raise InvalidInputError(f"sampling.n: {sampling.n} is over this service's limit of {self._limits.max_n}")
        if not 0 < sampling.top_p <= 1:
            raise InvalidInputError(f"sampling.top_p: {sampling.top_p} is not in (0, 1]; 1 is off")
        if "" in sampling.stop:
            raise InvalidInputError("sampling.stop: a stop string is empty; leave it out")
        if sampling.max_tokens > most:
            raise InvalidInputError(f"sampling.max_tokens: {sampling.max_tokens} is over the model's length, {most}")
        self._check_prompt(ids)

    def _check_prompt(self, ids: Sequence[int], field: str = "prompt") -> None:
        if not ids:
            raise InvalidInputError(f"{field}: it has no tokens; send at least one")
        if len(ids) >= self.max_model_tokens:
            raise InvalidInputError(
                f"{field}: {len(ids)} tokens leave no room in the model's length, {self.max_model_tokens}; shorten it"
            )
        if min(ids) < 0 or max(ids) >= self._engine.num_token_ids:
            raise InvalidInputError(f"{field}: a token id is outside 0..{self._engine.num_token_ids - 1}")

    def _take(self, num_sequences: int) -> None:
        if self._pending_sequences + num_sequences > self._limits.max_pending_sequences:
            metrics.REFUSED_REQUESTS.inc()
            raise OverloadedError(
                f"sampling.n: {num_sequences} more sequences would pass the {self._limits.max_pending_sequences} "
                f"that may be pending ({self._pending_sequences} are); try again later"
            )
        self._pending_sequences += num_sequences

    async def score(self, prompt: str, continuations: Sequence[str]) -> Scores:
        """Log-probability of each continuation after `prompt`. Raises as `generate` does."""
        words = self._engine.words
        ids = words.encode(Prompt(prompt))
        told = [words.encode_continuation(text) for text in continuations]
        for index, each in enumerate(told):
            self._check_prompt([*ids, *each], f"continuations[{index}]")
        self._take(len(told))
        try:
            return await self._answered(lambda: self._score(ids, told), may_stay=False)
        finally:
            self._pending_sequences -= len(told)

    async def _score(self, ids: Sequence[int], told: Sequence[Sequence[int]]) -> Scores:
        with self._inside(len(told)):
            logprobs = await asyncio.gather(*(self._engine.score(ids, each) for each in told))
        return Scores(tuple(logprobs), tuple(len(each) for each in told), self.policy_version)


def _check_version(ask: Ask, served: int) -> None:
    """Raises StalePolicyError unless `served` is what was asked for."""
    if served < ask.min_policy_version:
        raise StalePolicyError(f"min_policy_version: {ask.min_policy_version} is not served yet, {served} is")
    if ask.policy_version not in (0, served):
        raise StalePolicyError(
            f"policy_version: {ask.policy_version} was asked for and {served} is served; ask another replica, or begin "
            "again under the served one"
        )
