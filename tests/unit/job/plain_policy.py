"""A random two-layer Llama and what a GRPO step asks of its surroundings, without DeepSpeed and alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample

VOCABULARY = 13
EOS = 0
CPU = torch.device("cpu")


def tiny_llama(seed: int) -> LlamaForCausalLM:
    """In fp32; weights large enough that probabilities differ much."""
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=64, initializer_range=0.3, eos_token_id=EOS, **shape
    )
    return LlamaForCausalLM(config)


@dataclass
class PlainPolicy:
    """grpo_step.Policy on a bare model. A step keeps the gradient and moves the weights by `shift` against its sign."""

    model: LlamaForCausalLM
    shift: float = 0.0
    gradients: list[torch.Tensor] = field(default_factory=list)
    passes: list[tuple[int, ...]] = field(default_factory=list)

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Notes the shape of each pass."""
        self.passes.append(tuple(tokens.shape))
        made: torch.Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return made

    def accumulate(self, loss: torch.Tensor) -> None:
        """As autograd does."""
        torch.autograd.backward(loss)

    @torch.no_grad()
    def step(self, learning_rate: float) -> float:
        """Ends an update."""
        gradient = flat_gradient(self.model)
        for parameter in self.model.parameters():
            parameter.sub_(self.shift * torch.sign(parameter.grad))
        self.model.zero_grad()
        self.gradients.append(gradient)
        return float(gradient.norm())


def flat_gradient(model: torch.nn.Module) -> torch.Tensor:
    """Of all weights in one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).clone()


@dataclass(frozen=True)
class Alone:
    """grpo_step.Team of one rank."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU

    def sum(self, values: torch.Tensor) -> list[float]:
        """Of one."""
        return [float(value) for value in values.tolist()]


def random_groups(num_groups: int = 3, group_size: int = 4, seed: int = 3, max_tokens: int = 9) -> list[RolloutGroup]:
    """Prompts and completions of different lengths; one completion of three is cut, and told log-probabilities are off.

    Every sample has another reward, and its mask leaves out a token in the middle where it is long enough.
    """
    rng = np.random.default_rng(seed)
    return [_group(rng, number, group_size, max_tokens) for number in range(num_groups)]


def _group(rng: np.random.Generator, number: int, group_size: int, max_tokens: int) -> RolloutGroup:
    samples = tuple(_sample(rng, max_tokens, cut=i % 3 == 2) for i in range(group_size))
    prompt = rng.integers(1, VOCABULARY, rng.integers(1, 5)).astype(np.int32)
    problem = Problem(id=str(number), task="toy", statement="?", gold="1")
    return RolloutGroup(f"g{number}", f"g{number}/a", problem, prompt, samples, 4, 0)


def _sample(rng: np.random.Generator, max_tokens: int, *, cut: bool) -> Sample:
    length = max_tokens if cut else int(rng.integers(2, max_tokens))
    tokens = rng.integers(1, VOCABULARY, length).astype(np.int32)
    if not cut:
        tokens[-1] = EOS
    mask = np.ones(length, np.uint8)
    mask[2 : length - 3] = 0
    logprobs = (-2.5 + 0.4 * rng.normal(size=length)).astype(np.float32)
    reason, reward = "length" if cut else "stop", float(rng.normal())
    return Sample(tokens, logprobs, "", reason, Grade(Verdict.CORRECT), reward, 0, mask)
