"""The same groups through our step and through TRL's GRPOTrainer: the same loss and gradient, setting by setting.

TRL scores and compares the completions it is given with its own code, then both sides' weights are moved a little, so
that the ratio is not one, and then the losses are taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from retrograde.core.rollout import RolloutGroup
from retrograde.core.settings import RlSettings
from services.trainer.job.examples import examples_of, shaped_rewards
from services.trainer.job.grpo_step import Trainee, update, with_old_logprobs
from tests.unit.job.plain_policy import VOCABULARY, Alone, PlainPolicy, flat_gradient, random_groups, tiny_llama

pytestmark = pytest.mark.engine
MAX_TOKENS = 9
GROUP_SIZE = 4
NUM_GROUPS = 3
POLICY, REFERENCE = 1, 2


@dataclass(frozen=True)
class Case:
    """The same choice in our words and in TRL's; `told` takes the engine's log-probabilities as TRL's old ones."""

    ours: dict[str, object] = field(default_factory=dict)
    trl: dict[str, object] = field(default_factory=dict)
    told: bool = False


def corrected(mode: str, **more: object) -> Case:
    """Importance correction, which TRL has for vLLM only."""
    return Case(
        {"importance_correction": mode, "importance_cap": 1.5, **more},
        {
            "use_vllm": True,
            "vllm_importance_sampling_correction": True,
            "vllm_importance_sampling_mode": mode,
            "vllm_importance_sampling_clip_max": 1.5,
        },
    )


CASES = {
    "dapo": Case({"aggregation": "token"}, {"loss_type": "dapo"}),
    "bnpo": Case({"aggregation": "token"}, {"loss_type": "bnpo"}),
    "grpo": Case({"aggregation": "sequence"}, {"loss_type": "grpo"}),
    "dr_grpo": Case({"aggregation": "fixed_length"}, {"loss_type": "dr_grpo"}),
    "group std": Case({"advantage": "group_std"}, {"scale_rewards": "group"}),
    "batch std": Case({"advantage": "batch_std"}, {"scale_rewards": "batch"}),
    "clip higher": Case({"clip_low": 0.1, "clip_high": 0.3}, {"epsilon": 0.1, "epsilon_high": 0.3}),
    "two-sided clip": Case({"ratio_cap": 1.4}, {"delta": 1.4}),
    "sequence ratio": Case({"ratio": "sequence"}, {"importance_sampling_level": "sequence"}),
    "sequence ratio, grpo": Case(
        {"ratio": "sequence", "aggregation": "sequence"},
        {"importance_sampling_level": "sequence", "loss_type": "grpo"},
    ),
    "kl": Case({"kl_coefficient": 0.3}, {"beta": 0.3, "use_bias_correction_kl": False}),
    "kl, grpo": Case(
        {"kl_coefficient": 0.3, "aggregation": "sequence"},
        {"beta": 0.3, "loss_type": "grpo", "use_bias_correction_kl": False},
    ),
    "weighted kl": Case(
        {"kl_coefficient": 0.3, "kl_importance_weighted": True}, {"beta": 0.3, "use_bias_correction_kl": True}
    ),
    "token truncate": corrected("token_truncate"),
    "token mask": corrected("token_mask"),
    "sequence truncate": corrected("sequence_truncate"),
    "sequence mask": corrected("sequence_mask"),
    "old as told": Case({"old_logprobs": "sampled"}, told=True),
    "masked": Case({"overlong": "mask"}, {"mask_truncated_completions": True}),
    "masked, grpo": Case(
        {"overlong": "mask", "aggregation": "sequence"}, {"mask_truncated_completions": True, "loss_type": "grpo"}
    ),
    "masked, dr_grpo": Case(
        {"overlong": "mask", "aggregation": "fixed_length"},
        {"mask_truncated_completions": True, "loss_type": "dr_grpo"},
    ),
    "entropy": Case({"entropy_coefficient": 0.2}, {"entropy_coef": 0.2}),
    "entropy, grpo": Case(
        {"entropy_coefficient": 0.2, "aggregation": "sequence"}, {"entropy_coef": 0.2, "loss_type": "grpo"}
    ),
}


@pytest.fixture(scope="module", name="folder")
def checkpoint_of_the_reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """TRL loads its reference from where the policy was loaded; TRL is imported here, whatever it warns of."""
    folder = tmp_path_factory.mktemp("reference")
    tiny_llama(REFERENCE).save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        warnings.simplefilter("ignore")
        yield folder


def moved(model: torch.nn.Module) -> None:
    """An update later: the same step for both sides."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


def ours(groups: list[RolloutGroup], rl: RlSettings) -> tuple[float, torch.Tensor]:
    """(loss, gradient) of one update."""
    policy, reference = PlainPolicy(tiny_llama(POLICY)), None
    if rl.kl_coefficient:
        reference = tiny_llama(REFERENCE).requires_grad_(requires_grad=False)
    trainee = Trainee(policy, reference, Alone(), rl, seed=0)
    examples = with_old_logprobs(trainee, examples_of(groups, rl))
    moved(policy.model)
    loss = update(trainee, examples, trainee.rl.learning_rate)[0]
    return loss, policy.gradients[0]


def theirs(groups: list[RolloutGroup], case: Case, folder: Path) -> tuple[float, torch.Tensor]:
    """(loss, gradient) of TRL's code on the same."""
    trainer = trl_trainer(groups, case.trl, folder)
    inputs = trainer._generate_and_score_completions([{"prompt": "b"} for _ in range(NUM_GROUPS * GROUP_SIZE)])
    if case.told:
        inputs["old_per_token_logps"] = inputs["sampling_per_token_logps"]
    moved(trainer.model)
    loss = trainer._compute_loss(trainer.model, inputs)
    torch.autograd.backward(loss)
    return float(loss.detach()), flat_gradient(trainer.model)


def trl_trainer(groups: list[RolloutGroup], settings: dict[str, object], folder: Path) -> Any:
    """TRL's trainer on our policy. What asks for a vLLM is switched on after its start, which would look for one."""
    from datasets import Dataset  # noqa: PLC0415
    from trl import GRPOConfig, GRPOTrainer  # noqa: PLC0415

    later = {name: value for name, value in settings.items() if name.startswith(("use_vllm", "vllm"))}
    arguments: dict[str, Any] = {
        "loss_type": "dapo",
        "scale_rewards": "none",
        "num_iterations": 2,  # old log-probabilities are computed beforehand
        **{name: value for name, value in settings.items() if name not in later},
    }
    config = GRPOConfig(
        output_dir=str(folder / "out"),
        per_device_train_batch_size=NUM_GROUPS * GROUP_SIZE,
        num_generations=GROUP_SIZE,
        max_completion_length=MAX_TOKENS,
        temperature=1.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        **arguments,
    )
    trainer = GRPOTrainer(
        model=str(folder),
        reward_funcs=lambda reward, **_: reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "b"}]),
        processing_class=letters(),
        rollout_func=lambda *_: rollouts(groups),
    )
    for name, value in later.items():
        setattr(trainer, name, value)
    trainer._last_loaded_step = trainer.state.global_step  # there is no vLLM to load weights into
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.load_state_dict(tiny_llama(POLICY).state_dict())
    trainer.model.train()
    return trainer


def letters() -> PreTrainedTokenizerFast:
    """A word for each token id, the first of which ends."""
    words = ["<eos>", *"abcdefghijkl"]
    assert len(words) == VOCABULARY
    made = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=words[0])


def rollouts(groups: list[RolloutGroup]) -> dict[str, list[Any]]:
    """The groups in TRL's words, one row per sample."""
    rows = [(group, sample) for group in groups for sample in group.samples]
    return {
        "prompt_ids": [group.prompt_token_ids.tolist() for group, _ in rows],
        "completion_ids": [sample.token_ids.tolist() for _, sample in rows],
        "logprobs": [sample.logprobs.tolist() for _, sample in rows],
        "env_mask": [sample.mask.tolist() for _, sample in rows],
        "reward": [sample.reward for _, sample in rows],
    }


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_loss_and_gradient_are_those_of_trl(case: Case, folder: Path) -> None:
    """To 1e-5, in fp32, our side in several micro-batches; and the gradient is not nil."""
    groups = random_groups(NUM_GROUPS, GROUP_SIZE, max_tokens=MAX_TOKENS)
    given = {"old_logprobs": "recomputed", "num_epochs": 2, "max_tokens": MAX_TOKENS, "micro_batch_tokens": 40}
    rl = RlSettings.model_validate({**given, "drop_equal_groups": False, **case.ours})

    loss, gradient = ours(groups, rl)
    trl_loss, trl_gradient = theirs(groups, case, folder)

    assert loss == pytest.approx(trl_loss, abs=1e-5)
    torch.testing.assert_close(gradient, trl_gradient, rtol=1e-5, atol=1e-5)
    assert gradient.norm() > 1e-2


def test_the_overlong_penalty_is_that_of_trl(folder: Path) -> None:
    """The soft punishment of lengths from nothing to max_tokens."""
    from trl.rewards import get_soft_overlong_punishment  # noqa: PLC0415

    assert folder.exists()
    rl = RlSettings(overlong="penalise", max_tokens=MAX_TOKENS, overlong_buffer_tokens=5)
    groups = random_groups(NUM_GROUPS, GROUP_SIZE, max_tokens=MAX_TOKENS)
    completions = [sample.token_ids.tolist() for group in groups for sample in group.samples]

    shaped = [reward for group in groups for reward in shaped_rewards(group, rl)]
    penalties = np.array(shaped) - [sample.reward for group in groups for sample in group.samples]

    assert penalties.tolist() == pytest.approx(get_soft_overlong_punishment(MAX_TOKENS, 5)(completions))
    assert len(set(penalties.round(3))) > 2
