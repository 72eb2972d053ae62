"""The model in training: a transformers causal LM inside a DeepSpeed engine.

A step is `accumulate` once per micro-batch and then `step`. Losses are sums over tokens divided by the tokens of the
whole step over all ranks, so what is accumulated is the gradient of the step's mean loss, however it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.integrations import HfDeepSpeedConfig

from retrograde.core.settings import EngineSettings
from services.trainer.job.ranks import Ranks

_SHARDED = 3
_NEVER = 1_000_000_000
_LARGEST_BUCKET = 500_000_000  # elements: DeepSpeed's own. Stage 2 fills a buffer of it in every backward pass


class Learner:
    """One rank's part of the engine."""

    def __init__(self, engine: Any, optimizer: torch.optim.Optimizer, ranks: Ranks, gradient_clip: float) -> None:
        self.engine = engine
        self.ranks = ranks
        self._optimizer = optimizer
        self._gradient_norm = 0.0
        if engine.zero_optimization_stage() == 0:
            # Without ZeRO the engine clips but does not tell the norm; here gradients are whole and already averaged.
            optimizer.register_step_pre_hook(lambda *_: self._clip(gradient_clip))

    def logits(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Tokens [B, T], padded on the right -> [B, T, V]. Causality keeps padding out of sight: no mask is needed.

        Where `positions` [B, T] begin again, so does what a token sees (packing.py).
        """
        logits: Tensor = self.engine(input_ids=tokens, position_ids=positions, use_cache=False).logits
        return logits

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Within, nothing is learnt: no gradients, no dropout."""
        self.engine.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.engine.train()

    def accumulate(self, loss: Tensor) -> None:
        """Adds the gradient of `loss` (a share of the step's mean) to the step's."""
        # The engine averages over ranks, the loss is a share of a mean over all of them: multiply that back.
        self.engine.backward(loss * self.ranks.world_size)

    def step(self, learning_rate: float) -> float:
        """Applies what was accumulated; returns the norm of the gradient before clipping."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return self._gradient_norm if norm is None else float(norm)

    def _clip(self, largest: float) -> None:
        parameters = self.engine.module.parameters()
        self._gradient_norm = float(torch.nn.utils.clip_grad_norm_(parameters, largest))


def build_learner(checkpoint: Path, settings: EngineSettings, weight_decay: float, ranks: Ranks) -> Learner:
    """Loads the Hugging Face directory `checkpoint` into an engine with AdamW."""
    config = _engine_config(settings)
    sharding = HfDeepSpeedConfig(config) if settings.zero_stage == _SHARDED else None  # alive while the weights load
    model = load_model(checkpoint, settings, torch.float32)
    del sharding
    if settings.activation_checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    config["zero_optimization"]["reduce_bucket_size"] = min(_LARGEST_BUCKET, _num_elements(model))
    optimizer = torch.optim.AdamW(_parameter_groups(model, weight_decay), lr=0.0)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    return Learner(engine, optimizer, ranks, settings.gradient_clip)


def load_model(checkpoint: Path, settings: EngineSettings, dtype: torch.dtype) -> Any:
    """A causal LM from the Hugging Face directory `checkpoint`."""
    return AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=dtype, attn_implementation=settings.attention, local_files_only=True
    )


def _parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Norms and biases are never decayed."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if _num_dimensions(p) > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if _num_dimensions(p) <= 1], "weight_decay": 0.0},
    ]


def _num_elements(model: torch.nn.Module) -> int:
    """Of all weights, where ZeRO 3 keeps them elsewhere too."""
    return sum(int(getattr(parameter, "ds_numel", parameter.numel())) for parameter in model.parameters())


def _num_dimensions(parameter: torch.nn.Parameter) -> int:
    """Of the whole parameter, which ZeRO 3 flattens and remembers as `ds_shape`."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


def _engine_config(settings: EngineSettings) -> dict[str, Any]:
    half = settings.dtype == "bf16"
    stage = max(1, settings.zero_stage) if half else settings.zero_stage  # without ZeRO no weights are kept in fp32
    return {
        "train_micro_batch_size_per_gpu": 1,  # nominal: micro-batches are cut by tokens
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,  # every call of step() is a step
        "gradient_clipping": settings.gradient_clip if stage else 0.0,
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": half},
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": _NEVER,
    }
