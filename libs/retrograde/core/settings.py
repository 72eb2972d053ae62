"""Every number of the method, in one place: the paper's are defaults with their section, ours are marked ours.

All models are frozen and refuse unknown keys, so that a misspelt setting is an error and never a silent default.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SearchSettings(Settings):
    """Monte-Carlo tree search (paper, section on search)."""

    num_iterations: int = Field(32, ge=1, description="Iterations per tree (paper: 32).")
    num_actions: int = Field(8, ge=1, description="k, steps proposed per expansion (paper: 8).")
    num_rollouts: int = Field(16, ge=0, description="M, rollouts per evaluation (paper: 16).")
    max_depth: int = Field(50, ge=1, description="Steps from the root to a terminal at most (paper: 50).")
    c_puct: float = Field(1.0, ge=0, description="Exploration weight (the paper is silent: ours).")
    temperature: float = Field(1.0, ge=0, description="Of proposals and rollouts (silent: ours).")
    top_p: float = Field(1.0, gt=0, le=1, description="Of proposals and rollouts (silent: ours).")
    max_step_tokens: int = Field(512, ge=1, description="Tokens per step at most (silent: ours).")
    max_rollout_tokens: int = Field(4096, ge=1, description="Tokens per rollout at most (silent: ours).")
    length_normalised_prior: bool = Field(
        default=True, description="Prior from the step's mean rather than summed log-probability (silent: ours)."
    )
    value: Literal["rollouts", "judge", "both"] = Field(
        "rollouts",
        description="R(S) of an expanded node: the mean reward of its rollouts (paper), the share of the policy's own "
        "judgements that say yes to the steps so far, or the mean of both (ours). `judge` needs evaluate: expanded.",
    )
    num_judgements: int = Field(8, ge=1, description="Judgements of a node, where the policy judges (ours).")
    evaluate: Literal["expanded", "children"] = Field(
        "expanded", description="M rollouts per expanded node, or per new child (paper unsettled)."
    )
    keep_rollouts: bool = Field(
        default=True, description="Keep rollouts as further terminals for the linearizer (ours)."
    )
    wrong_reward: float = Field(
        0.0, description="Reward of an incorrect terminal in search; correct is 1 (silent: ours)."
    )
    stop_when_solved: int = Field(
        0, ge=0, description="End early once this many correct terminals are found; 0: never (ours)."
    )
    stop_at_value: float | None = Field(
        None, description="End early once a correct terminal is known and a first step is worth this much (ours)."
    )
    stop_without_gain: int = Field(
        0, ge=0, description="End early after this many iterations without a new correct terminal; 0: never (ours)."
    )
    max_calls: int = Field(0, ge=0, description="Model calls per tree, never exceeded; 0: no limit (ours).")
    max_generated_tokens: int = Field(
        0,
        ge=0,
        description="Generated tokens per tree, never exceeded: a call begins only if its worst case fits what is "
        "left; 0: no limit (ours).",
    )
    algorithm: Literal["mcts", "best_of_n", "beam", "best_first"] = Field(
        "mcts", description="The search; all but mcts are baselines on the same budget meter (ours)."
    )
    selection: Literal["puct", "uct", "gumbel"] = Field("puct", description="Of mcts (paper: puct).")
    gumbel_candidates: int = Field(16, ge=1, description="First steps considered by gumbel (ours).")
    gumbel_scale: float = Field(0.02, gt=0, description="Weight of values against log-priors in gumbel (ours).")
    beam_width: int = Field(4, ge=1, description="Nodes kept per level by beam (ours).")
    prior: Literal["logprob", "count"] = Field(
        "logprob",
        description="Prior of a step among its siblings: from its log-probability, or its share of equal proposals.",
    )
    max_in_flight: int = Field(1, ge=1, description="Calls of one tree in flight at the same time (ours).")
    virtual_loss: float = Field(
        1.0,
        ge=0,
        description="Wrong answers that an iteration in flight counts for on its path; 0: a visit only (ours).",
    )
    feed_order: Literal["index", "arrival"] = Field(
        "index",
        description="Replies take effect in the order of their calls: the tree is the same whatever the timing. Or as "
        "they come: nothing waits for a slower reply (ours).",
    )

    @model_validator(mode="after")
    def _judged_once(self) -> SearchSettings:
        if self.value != "rollouts" and (self.evaluate != "expanded" or self.algorithm != "mcts"):
            raise ValueError(
                f"value: {self.value!r} judges expanded nodes of mcts; set evaluate: expanded and algorithm: mcts"
            )
        return self


class LinearizeSettings(Settings):
    """Walks made from one tree (paper, Algorithm 1)."""

    num_wrong: tuple[int, ...] = Field(
        (1, 2, 2), description="k of each search solution wanted per problem (paper: three with k >= 1)."
    )
    direct: bool = Field(default=True, description="Also make one direct solution, k = 0 (paper).")
    backtrack_from: Literal["terminal", "any"] = Field(
        "terminal", description="Where a wrong branch is left: at its terminal (paper), or at any of its steps."
    )
    merge_at: Literal["deepest_common_ancestor", "root"] = Field(
        "deepest_common_ancestor", description="Where a return leads (paper: the deepest common ancestor)."
    )
    self_evaluation_samples: int = Field(
        8, ge=0, description="Judgements by the policy that must all agree on a correct terminal (paper: 8); 0: off."
    )


class RewriteSettings(Settings):
    """Words for a walk (paper, section on rewriting)."""

    method: Literal["template", "llm"] = Field("llm", description="Retold by the policy (paper), or by template.")
    reflection: bool = Field(default=True, description="Say a doubt before each return (paper).")
    reassurance_value: float = Field(
        2.0, description="Say a reassurance after a right step of this value or more; above 1: never (silent: ours)."
    )
    max_attempts: int = Field(
        3, ge=1, description="Times an LLM rewrite may break an invariant before the template (ours)."
    )
    max_sentence_tokens: int = Field(256, ge=1, description="Tokens per retold step at most (ours).")
    temperature: float = Field(0.7, ge=0, description="Of the retelling (ours).")


class SftSettings(Settings):
    """Supervised fine-tuning (paper, section on training)."""

    num_epochs: int = Field(1, ge=1, description="(paper: 1)")
    learning_rate: float = Field(3e-6, gt=0, description="AdamW, cosine to zero (paper: 3e-6).")
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="(ours)")
    weight_decay: float = Field(0.0, ge=0, description="(silent: ours)")
    batch_size: int = Field(64, ge=1, description="Solutions per optimiser step over all ranks (silent: ours).")
    micro_batch_tokens: int = Field(16384, ge=1, description="Padded tokens per forward pass of a rank (ours).")
    max_tokens: int = Field(
        8192, ge=1, description="Longest example; longer ones are dropped and counted (paper: 8192)."
    )
    loss_on: Literal["all", "completion", "assistant", "right_path"] = Field(
        "all",
        description="All tokens (paper), the completion, what the assistant says in a conversation, or the completion "
        "without the steps of wrong branches (ours).",
    )
    packing: Literal["off", "best_fit"] = Field(
        "off",
        description="Several examples to a row, longest first, each into the row it fills best. None sees another: "
        "loss and gradient stay the same (ours).",
    )
    eval_share: float = Field(0.0, ge=0, lt=1, description="Of the problems, held out for eval_loss (ours).")
    eval_every: int = Field(50, ge=1, description="Steps between evaluations, where anything is held out (ours).")
    save_every: int = Field(50, ge=1, description="Optimiser steps between resumable saves (ours).")
    num_processes: int = Field(1, ge=1, description="Ranks.")


RL_PRESETS: dict[str, dict[str, object]] = {
    "astro": {},  # the paper's: group mean as baseline, all tokens alike, no KL
    "grpo": {  # arXiv 2402.03300, eq. 3
        "advantage": "group_std",
        "aggregation": "sequence",
        "kl_coefficient": 0.04,
        "drop_equal_groups": False,
        "pass_rate_band": (0.0, 1.0),
    },
    "dr_grpo": {"aggregation": "fixed_length", "pass_rate_band": (0.0, 1.0)},  # arXiv 2503.20783
    "dapo": {  # arXiv 2503.14476
        "advantage": "group_std",
        "clip_high": 0.28,
        "overlong": "penalise",
        "pass_rate_band": (0.0, 1.0),
    },
}


class RlSettings(Settings):
    """GRPO with a verifiable reward (paper, section on RL); docs/grpo.md has the formula they are parts of."""

    preset: Literal["astro", "grpo", "dr_grpo", "dapo"] = Field(
        "astro", description="Published choices for the settings that are not given (ours)."
    )
    num_steps: int = Field(100, ge=1, description="Batches pulled, each trained on and published (silent: ours).")
    prompts_per_step: int = Field(64, ge=1, description="Groups per step (silent: ours).")
    group_size: int = Field(4, ge=2, description="Samples per prompt (paper: 4).")
    num_epochs: int = Field(1, ge=1, description="Passes over each step's samples (silent: ours).")
    num_minibatches: int = Field(1, ge=1, description="Optimiser updates per pass, on equal shares (silent: ours).")
    learning_rate: float = Field(1e-6, gt=0, description="(silent: ours)")
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="After the warm-up: as it is, or down to 0 over num_steps (silent: ours)."
    )
    warmup_steps: int = Field(0, ge=0, description="Steps over which the rate rises to learning_rate (silent: ours).")
    temperature: float = Field(1.0, gt=0, description="(silent: ours)")
    max_tokens: int = Field(15360, ge=1, description="Longest completion (recalled from the paper: 15,360).")
    max_policy_lag: int = Field(
        0,
        ge=0,
        description="Published policies that a sample may be behind when it is trained on. 0: generation waits for the "
        "new weights; 1: the next step's samples are drawn while this one trains; n: up to n steps ahead (ours).",
    )
    advantage: Literal["mean", "group_std", "batch_std", "leave_one_out"] = Field(
        "mean",
        description="Reward less the group's mean; that over the group's or the batch's deviation (ours: biased); or "
        "reward less the mean of the group's other samples.",
    )
    aggregation: Literal["token", "sequence", "fixed_length"] = Field(
        "token",
        description="Mean over the update's tokens; over its sequences, of each one's mean (ours: favours short right "
        "and long wrong answers); or over its sequences, of sum / max_tokens.",
    )
    ratio: Literal["token", "sequence"] = Field(
        "token", description="Policy over old policy per token, or the sequence's geometric mean (arXiv 2507.18071)."
    )
    clip_low: float = Field(0.2, gt=0, description="The ratio counts from 1 - clip_low (silent: ours).")
    clip_high: float = Field(0.2, gt=0, description="The ratio counts up to 1 + clip_high (silent: ours).")
    ratio_cap: float | None = Field(
        None, gt=1, description="Bounds the ratio of samples worse than their group too; none: unbounded (ours)."
    )
    old_logprobs: Literal["sampled", "recomputed"] = Field(
        "sampled",
        description="What the ratio divides by: the probabilities told by the engine that sampled, or the trainer's "
        "own before the first update on the batch (ours).",
    )
    importance_correction: Literal["off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] = Field(
        "off",
        description="Weight for samples of another policy or arithmetic, old / sampled per token or sequence: at most "
        "importance_cap, or 0 above it. Needs old_logprobs: recomputed (ours).",
    )
    importance_cap: float = Field(2.0, gt=0, description="Of importance_correction (ours).")
    kl_coefficient: float = Field(
        0.0, ge=0, description="Against the starting policy; 0: no reference model (silent: ours)."
    )
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k3",
        description="d, d^2 / 2 or exp(-d) - 1 + d of d = log policy - log reference (ours; k1's gradient is noise).",
    )
    kl_importance_weighted: bool = Field(
        default=False, description="Multiply the KL by the ratio: its gradient is then unbiased off-policy (ours)."
    )
    entropy_coefficient: float = Field(0.0, ge=0, description="Reward per nat of mean token entropy (ours).")
    overlong: Literal["keep", "mask", "penalise"] = Field(
        "keep",
        description="Completions cut at max_tokens: as any other, without loss, or with up to overlong_penalty less "
        "reward within the last overlong_buffer_tokens (ours).",
    )
    overlong_buffer_tokens: int = Field(0, ge=0, description="Of overlong: penalise; 0: max_tokens / 4 (ours).")
    overlong_penalty: float = Field(1.0, ge=0, description="Of overlong: penalise, at max_tokens (ours).")
    drop_equal_groups: bool = Field(
        default=True, description="Groups of equal rewards carry no gradient: skip them (ours)."
    )
    pass_rate_band: tuple[float, float] = Field(
        (0.01, 0.75), description="Prompts whose pass rate under the base lies in it are used (recalled: 1-75 %)."
    )
    micro_batch_tokens: int = Field(16384, ge=1, description="Padded tokens per forward pass of a rank (ours).")
    save_every: int = Field(10, ge=1, description="Steps between resumable saves (ours).")
    lease_seconds: float = Field(
        21600.0, gt=0, description="A group that no save covers in this time is given out again (ours)."
    )
    publish_seconds: float = Field(
        7200.0,
        gt=0,
        description="Longest time publishing may take: what is generated may have to finish first (ours).",
    )
    num_processes: int = Field(1, ge=1, description="Ranks.")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: object) -> object:
        """What is given wins over the preset, the preset over the defaults."""
        if not isinstance(given, dict):
            return given
        return RL_PRESETS.get(str(given.get("preset")), {}) | given

    @model_validator(mode="after")
    def _old_policy_is_known(self) -> RlSettings:
        if self.importance_correction != "off" and self.old_logprobs != "recomputed":
            raise ValueError(
                f"importance_correction: {self.importance_correction!r} compares the trainer's log-probabilities with "
                "the engine's; set old_logprobs: recomputed"
            )
        if self.max_policy_lag and self.old_logprobs == "recomputed" and self.importance_correction == "off":
            raise ValueError(
                f"max_policy_lag: {self.max_policy_lag} trains on older policies' samples, uncorrected; set "
                "importance_correction: token_truncate, or old_logprobs: sampled"
            )
        return self


class EvaluateSettings(Settings):
    """Scores of an arm (paper, section on evaluation)."""

    num_samples: int = Field(16, ge=1, description="pass@1 is the mean over these (paper: 16).")
    majority: int = Field(8, ge=1, description="k of maj@k (paper: 8).")
    temperature: float = Field(1.0, ge=0, description="(silent: ours)")
    max_tokens: int = Field(15360, ge=1, description="Longest answer.")


class EngineSettings(Settings):
    """How DeepSpeed and torch run; changes speed and memory, not the method."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one.")
    dtype: Literal["fp32", "bf16"] = Field("fp32", description="bf16 keeps fp32 master weights in the optimiser.")
    zero_stage: Literal[0, 1, 2, 3] = Field(
        0, description="DeepSpeed ZeRO: 1 shards the optimiser, 2 the gradients too, 3 the weights too."
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    activation_checkpointing: bool = Field(default=False, description="Recompute activations: slower, much smaller.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of the gradient (paper silent: ours).")
    num_threads: int = Field(1, ge=1, description="Torch threads of a rank; bits on CPU depend on it.")
