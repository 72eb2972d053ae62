"""The training jobs: the only place with torch and DeepSpeed.

    sft.py  -> sft_loop.py   rows.py (lines of a dataset)  data.py (tokens, masks)  packing.py  schedule.py
    grpo.py -> grpo_loop.py  feed.py (rollouts over gRPC)  ahead.py (pulled beside training)  groups.py (which are used)
            -> grpo_step.py  examples.py (rewards, advantages)  objective.py (the loss of the paper)
    both:   settings.py  outcome.py (start and end)  ranks.py  learner.py (the engine)  losses.py  batches.py
            checkpoints.py (store <-> Hugging Face, resumable saves)  metrics.py, trackers.py (the steps)

A loop knows all of them; losses and batches know tensors only, and nothing knows a loop.
"""
