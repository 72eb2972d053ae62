"""What verl's own classes make of our rows and groups: python program_verl.py FOLDER."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import verl_agent_loop
from interop_groups import PROBLEM, ListedRollouts, a_group
from omegaconf import OmegaConf
from tiny_world_of_interop import tiny_tokenizer
from verl.experimental.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.utils.dataset import RLHFDataset

from retrograde.interop import verl


def plain(output: AgentLoopOutput) -> dict[str, Any]:
    """What verl hands on from an output, tensors as lists."""
    told = output.as_dict()
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in told.items()}


def data_set(folder: Path) -> list[dict[str, Any]]:
    """A written file as verl's own data set reads it."""
    path = folder / "rl.parquet"
    verl.write_problems([replace(PROBLEM, id=f"p{number}") for number in range(2)], path, "rl")
    config = OmegaConf.create({"cache_dir": str(folder), "filter_overlong_prompts": False})
    read = RLHFDataset(str(path), tiny_tokenizer(), config)
    names = ("raw_prompt", "index", "data_source", "reward_model")
    return [{name: read[number][name] for name in names} for number in range(len(read))]


async def loop_outputs(rollouts: ListedRollouts) -> list[list[list[int]]]:
    """The example's agent loops, called as a worker of verl does: two prompts of a batch, then one of the next."""
    siblings = verl.Siblings(rollouts, 3)  # type: ignore[arg-type]
    verl_agent_loop.siblings_of_process = lambda *_: siblings  # type: ignore[assignment]
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": {"n": 3}}})
    loop = verl_agent_loop.FeedLoop(
        DictConfigWrap(config),
        None,
        tiny_tokenizer(),
        None,
        RLHFDataset,
        DictConfigWrap(OmegaConf.create({})),
        address="",
        feed="",
        prompts_key="",
    )
    batches = [["x", "x", "x", "y", "y", "y"], ["z", "z", "z"]]
    answered = [await asyncio.gather(*(loop.run({}, uid=uid) for uid in batch)) for batch in batches]
    return [[output.response_ids for output in outputs] for outputs in answered]


def main() -> None:
    """Prints everything as a line of JSON."""
    rollouts = ListedRollouts([a_group(name) for name in "abc"])
    found = {
        "outputs": [plain(output) for output in verl.agent_loop_outputs(a_group(), 4)],
        "rows": data_set(Path(sys.argv[1])),
        "answered": asyncio.run(loop_outputs(rollouts)),
        "acked": rollouts.acked,
    }
    print(json.dumps(found))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
