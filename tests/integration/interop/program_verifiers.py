"""What verifiers' own classes make of our groups and tasks: python program_verifiers.py VERIFIER."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, replace
from typing import Any

import verifiers.v1 as vf
from interop_groups import a_group, a_sample

from retrograde.core.rollout import RolloutGroup
from retrograde.interop import verifiers


def plain(group: RolloutGroup) -> dict[str, Any]:
    """As JSON, arrays as lists of their values and the name of their type."""
    return json.loads(json.dumps(asdict(group), default=_plain_value))  # type: ignore[no-any-return]


def _plain_value(value: Any) -> Any:
    return [str(value.dtype), *value.tolist()] if hasattr(value, "tolist") else value.value


def whole_group() -> RolloutGroup:
    """A group whose tokens are all trained on: a trace keeps all of it."""
    return replace(a_group(), samples=(a_sample([5, 6], 1.0, [1, 1]), a_sample([4], -1.0, [1])))


def through_records(group: RolloutGroup) -> RolloutGroup:
    """Written to JSON as verifiers writes it, and read as it reads it."""
    lines = [json.dumps(each.to_record(float_decimals=None)) for each in verifiers.episodes(group, "run", 7)]
    return verifiers.group([vf.WireEpisode.model_validate_json(line) for line in lines])


def episode_facts(group: RolloutGroup) -> dict[str, Any]:
    """What a trainer reads from the last episode."""
    episode = verifiers.episodes(group, "run", 7)[-1]
    (trace,), (branch,) = episode.traces, episode.traces[0].branches
    return {
        "group": episode.group.id,
        "policy": [episode.run.work.policy.start, episode.run.work.policy.end],
        "step": episode.run.work.step,
        "reward": trace.reward,
        "token_ids": branch.token_ids,
        "sampled_mask": branch.sampled_mask,
        "logprobs": branch.logprobs,
        "output_tokens": trace.num_output_tokens,
        "last_reply": trace.last_reply,
    }


async def scores(address: str) -> dict[str, Any]:
    """The plug-in, found as verifiers finds one, and what its first task says of three answers."""
    settings = {"id": "verifiers-tasks", "options": {"num_numbers": 3, "count": 2}, "task": {"verifier": address}}
    taskset = vf.load_taskset(vf.taskset_config_type("verifiers-tasks").model_validate(settings))
    tasks = list(taskset)
    found: dict[str, Any] = {"keys": [task.key for task in tasks], "prompt": tasks[0].data.prompt}
    for answer in ("aa", "ee", "hh"):
        (trace,) = verifiers.episodes(replace(a_group(), samples=(replace(_one(), text=answer),)), "run", 0)[0].traces
        trace.rewards.clear()
        try:
            await tasks[0].score(trace)
            found[answer] = trace.reward
        except vf.TaskError as error:
            found[answer] = [str(error), trace.rewards]
    return found


def _one() -> Any:
    return a_group().samples[0]


def main() -> None:
    """Prints everything as a line of JSON."""
    found = {
        "before": plain(whole_group()),
        "after": plain(through_records(whole_group())),
        "masked": plain(through_records(a_group()))["samples"][2],
        "episode": episode_facts(a_group()),
        "tasks": asyncio.run(scores(sys.argv[1])),
    }
    print(json.dumps(found))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
