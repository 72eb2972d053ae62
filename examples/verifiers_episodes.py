"""Retrograde's rollouts as verifiers' episodes, which prime-rl trains on.

python examples/verifiers_episodes.py ROLLOUTS PROMPTS_KEY NUM_GROUPS FILE writes a line of JSON for each episode.
"""

import json
import sys
from pathlib import Path

from retrograde.interop.rollouts import Rollouts
from retrograde.interop.verifiers import episodes

if __name__ == "__main__":
    address, prompts_key, num_groups, target = sys.argv[1:]
    with Rollouts(address, "verifiers/feed", consumer="verifiers") as rollouts, Path(target).open("w") as file:
        rollouts.open(prompts_key, group_size=8)
        groups = rollouts.pull(int(num_groups))
        made = [episode for group in groups for episode in episodes(group, run_id="example", step=0)]
        file.writelines(json.dumps(episode.to_record(float_decimals=None)) + "\n" for episode in made)
        file.flush()
        rollouts.ack(groups)
