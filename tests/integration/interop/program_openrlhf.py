"""What OpenRLHF's own Experience, and its batching, make of our groups."""

from __future__ import annotations

import json
from typing import Any

from interop_groups import ListedRollouts, a_group
from openrlhf.trainer.ppo_utils.experience import (
    Experience,
    make_experience_batch,
    remove_padding_in_sequences,
    split_experience_batch,
)

from retrograde.interop.openrlhf import FeedSamples, experiences


def plain(experience: Experience) -> dict[str, Any]:
    """Its fields, tensors as lists."""
    found = {name: value for name, value in vars(experience).items() if value is not None}
    found["info"] = {name: _plain(value) for name, value in experience.info.items()}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list) else getattr(value, "tolist", lambda: value)()


def main() -> None:
    """Prints everything as a line of JSON."""
    batch = Experience.concat_experiences(experiences(a_group(), 3), pad_token_id=0)
    again = [plain(item) for item in remove_padding_in_sequences(split_experience_batch(batch))]
    rollouts = ListedRollouts([a_group(name) for name in "abc"])
    samples = FeedSamples(rollouts, num_groups=2, size=3)  # type: ignore[arg-type]
    steps = [samples.generate_samples(temperature=1.0) for _ in range(2)]
    found = {
        "batch": plain(batch),
        "alone": [plain(experience) for experience in experiences(a_group(), 3)],
        "again": again,
        "rebatched": plain(make_experience_batch(split_experience_batch(batch))),
        "steps": [[len(made), *rest] for made, *rest in steps],
        "acked": rollouts.acked,
    }
    print(json.dumps(found))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
