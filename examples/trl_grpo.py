"""TRL's GRPOTrainer on Retrograde's rollouts: python examples/trl_grpo.py MODEL ROLLOUTS STORE PROMPTS_KEY OUT.

The service at ROLLOUTS samples, grades and leases; STORE is the one that it and the inference service use.
"""

import os
import sys

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from retrograde.interop.rollouts import Rollouts
from retrograde.interop.trl_grpo import GrpoSource, Weights
from retrograde.runtime.adapters import open_store

NUM_GROUPS, GROUP_SIZE, NUM_STEPS = 2, 4, 2

if __name__ == "__main__":
    model, address, store, prompts_key, out = sys.argv[1:]
    weights = Weights(open_store(store), "trl/policies")
    batch = {"per_device_train_batch_size": NUM_GROUPS * GROUP_SIZE, "num_generations": GROUP_SIZE}
    args = GRPOConfig(out, max_steps=NUM_STEPS, learning_rate=1e-3, report_to="none", bf16=False, **batch)
    consumer = f"trl-{os.environ.get('RANK', '0')}"  # each process of a distributed run is one
    with Rollouts(address, "trl/feed", consumer=consumer) as rollouts, GrpoSource(rollouts, weights) as source:
        rollouts.open(prompts_key, group_size=GROUP_SIZE, max_tokens=64)
        rows = Dataset.from_list(source.prompts(NUM_GROUPS * NUM_STEPS))
        trainer = GRPOTrainer(model, source.reward, args, rows, rollout_func=source.rollout)
        trainer.train()
    trainer.save_model()
