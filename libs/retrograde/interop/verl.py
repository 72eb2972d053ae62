"""verl: parquet of problems, and the outputs of an agent loop from groups.

A row has verl's columns: data_source, prompt (messages), ability, reward_model {style, ground_truth} and extra_info
{split, index, ...}. Ours keep the rest of the problem in extra_info, so that it is found again; rows of others become
problems of a task that is named for them.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrograde.core.problem import Problem
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.interop.groups import filled
from retrograde.interop.rollouts import Rollouts
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.runtime.tls import Identity
from retrograde.tasks.task import load_task

if TYPE_CHECKING:
    from verl.experimental.agent_loop import AgentLoopOutput

_SOURCE = "retrograde/"
_KEPT = ("id", "statement", "source", "level")


def problem_row(problem: Problem, split: str, index: int) -> dict[str, Any]:
    """A problem -> verl's columns."""
    return {
        "data_source": f"{_SOURCE}{problem.task}",
        "prompt": [{"role": "user", "content": load_task(problem.task).prompt(problem)}],
        "ability": problem.task,
        "reward_model": {"style": "rule", "ground_truth": problem.gold},
        "extra_info": {"split": split, "index": index, **{name: getattr(problem, name) for name in _KEPT}},
    }


def problem(row: Mapping[str, Any], task: str = "") -> Problem:
    """The problem of a row with verl's columns; one that is not ours becomes a problem of `task`: its last message.

    Raises InvalidInputError when the row is not ours and no task is named.
    """
    source, info = str(row["data_source"]), row.get("extra_info") or {}
    gold = str(row["reward_model"]["ground_truth"])
    if source.startswith(_SOURCE):
        return Problem(task=source.removeprefix(_SOURCE), gold=gold, **{name: info[name] for name in _KEPT})
    if not task:
        raise InvalidInputError(f"task: data_source {source!r} is not ours; name the task that grades its answers")
    name = f"{source}/{info.get('split', '')}/{info.get('index', '')}".replace("/", "-")
    return Problem(name, task, row["prompt"][-1]["content"], gold, source, str(row.get("ability", "")))


def write_problems(problems: Iterable[Problem], path: Path, split: str) -> None:
    """Writes the parquet file that verl's data.train_files names. Raises InvalidInputError without pyarrow."""
    import pyarrow as pa  # noqa: PLC0415 - an extra: only parquet needs it
    from pyarrow import parquet  # noqa: PLC0415

    rows = [problem_row(problem, split, index) for index, problem in enumerate(problems)]
    parquet.write_table(pa.Table.from_pylist(rows), path)


def read_problems(path: Path, task: str = "") -> list[Problem]:
    """The problems of a parquet file with verl's columns, in order; see `problem`."""
    from pyarrow import parquet  # noqa: PLC0415 - as above

    return [problem(row, task) for row in parquet.read_table(path).to_pylist()]


def agent_loop_outputs(group: RolloutGroup, size: int) -> list[AgentLoopOutput]:
    """A group -> `size` outputs, what an agent loop would have returned for its prompt; see `filled`."""
    return [_output(group, sample) for sample in filled(group, size)]


def _output(group: RolloutGroup, sample: Sample) -> AgentLoopOutput:
    from verl.experimental.agent_loop import AgentLoopOutput  # noqa: PLC0415 - only who trains with verl has it
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics  # noqa: PLC0415

    return AgentLoopOutput(
        prompt_ids=group.prompt_token_ids.tolist(),
        response_ids=sample.token_ids.tolist(),
        response_mask=sample.mask.tolist(),
        response_logprobs=sample.logprobs.tolist(),
        reward_score=sample.reward,
        num_turns=2,
        metrics=AgentLoopMetrics(),
        extra_fields={
            "turn_scores": [],
            "tool_rewards": [],
            "problem_id": group.problem.id,
            "policy_version": group.policy_version,
            "backtracks": sample.backtracks,
        },
    )


@dataclass(slots=True)
class Siblings:
    """Answers verl's agent loops from a feed: the `size` calls of one `uid` get the samples of one group.

    A worker of verl runs the calls of a batch together; a batch must give each worker whole groups. When all calls were
    answered, the next one is of a later batch: verl has stepped on those groups, and they are acknowledged. The last
    batch's are handed out again.
    """

    rollouts: Rollouts
    size: int
    _outputs: dict[str, asyncio.Future[list[AgentLoopOutput]]] = field(default_factory=dict)
    _num_asked: dict[str, int] = field(default_factory=dict)
    _groups: list[RolloutGroup] = field(default_factory=list)

    async def next(self, uid: str) -> AgentLoopOutput:
        """The next sample of the group that `uid` stands for. Raises NotFoundError when the feed has ended."""
        if uid not in self._outputs:
            self._outputs[uid] = asyncio.ensure_future(self._pull(self._settled()))
        number = self._num_asked.get(uid, 0)
        self._num_asked[uid] = number + 1
        return (await asyncio.shield(self._outputs[uid]))[number]

    def _settled(self) -> list[RolloutGroup]:
        """The groups of an earlier batch, once."""
        if any(asked < self.size for asked in self._num_asked.values()):
            return []
        settled, self._groups = self._groups, []
        self._outputs.clear()
        self._num_asked.clear()
        return settled

    async def _pull(self, settled: list[RolloutGroup]) -> list[AgentLoopOutput]:
        await asyncio.to_thread(self.rollouts.ack, settled)
        groups = await asyncio.wrap_future(self.rollouts.pull_soon(1))
        if not groups:
            raise NotFoundError(f"feed: {self.rollouts.feed!r} has ended; lower trainer.total_training_steps")
        self._groups += groups
        return agent_loop_outputs(groups[0], self.size)


@functools.cache
def siblings_of_process(address: str, feed: str, prompts_key: str, size: int, **files: str) -> Siblings:
    """One for each worker process of verl, which is a consumer of its own; it opens the feed when it is first asked.

    `files` are those of its Identity, by name; without any the connection is plaintext. What a worker that died had
    leased is handed out again when the leases run out.
    """
    identity = Identity(**{name: Path(file) for name, file in files.items()}) if files else None
    consumer = f"verl-{socket.gethostname()}-{os.getpid()}"
    rollouts = Rollouts(address, feed, consumer=consumer, identity=identity).__enter__()
    rollouts.open(prompts_key, group_size=size)
    return Siblings(rollouts, size)
