"""OpenRLHF on Retrograde's rollouts: ROLLOUTS=... FEED=... PROMPTS_KEY=... python examples/openrlhf_samples.py ARGS.

ARGS are those of openrlhf.cli.train_ppo_ray, whose trainer it runs with a feed in the place of its own generation.
"""

import os
import runpy
from typing import Any

import ray
from openrlhf.trainer import ppo_trainer

from retrograde.interop.openrlhf import FeedSamples
from retrograde.interop.rollouts import Rollouts


class FeedTrainer(ppo_trainer.PPOTrainer.__ray_metadata__.modified_class):
    """OpenRLHF's trainer, which asks `samples_generator` for each step's samples."""

    def __init__(self, pretrain: str, strategy: Any, *groups: Any, **settings: Any) -> None:
        super().__init__(pretrain, strategy, *groups, **settings)
        sizes = strategy.args.rollout
        rollouts = Rollouts(os.environ["ROLLOUTS"], os.environ["FEED"], consumer="openrlhf").__enter__()
        rollouts.open(os.environ["PROMPTS_KEY"], group_size=sizes.n_samples_per_prompt)
        self.samples_generator = FeedSamples(rollouts, sizes.batch_size, sizes.n_samples_per_prompt)


if __name__ == "__main__":
    ppo_trainer.PPOTrainer = ray.remote(FeedTrainer)
    runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")
