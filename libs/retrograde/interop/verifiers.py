"""verifiers, and with it prime-rl: a group as episodes of one trace each, and back.

A trace has two messages: the user's, which is the prompt's tokens, and the sampled answer with its mask and
log-probabilities. Its format keeps log-probabilities of tokens in the mask only: those of the others come back as 0.
What has no field there (lease, epoch, grade, the problem) is in the trace's `info` and in the task's data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from retrograde.core.problem import Cost, Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.runtime.errors import InvalidInputError
from retrograde.tasks.task import load_task

if TYPE_CHECKING:
    from verifiers.v1 import Episode, MessageNode, Trace

_INFO = "retrograde"
_REWARD = "verdict"


def episodes(group: RolloutGroup, run_id: str, step: int) -> list[Episode]:
    """A group -> one episode for each sample, of the step `step` of the training run `run_id`."""
    import verifiers.v1 as vf  # noqa: PLC0415 - only who trains with verifiers or prime-rl has it

    made = []
    for number, sample in enumerate(group.samples):
        first, last = sample.policy_versions
        trace = _trace(group, sample, f"{group.lease_id}/{number}")
        work = vf.TrainWorkInfo(step=step, policy=vf.PolicySpan(start=first, end=last))
        run = vf.TrainRunInfo(id=run_id, work=work)
        grouped = vf.GroupInfo(id=group.id)
        episode = vf.WireEpisode(id=trace.id, task=trace.task, group=grouped, run=run, ok=True, traces=[trace])
        made.append(episode)
    return made


def group(found: Sequence[Episode]) -> RolloutGroup:
    """What `episodes` made, whole or read from its records -> the group. Raises InvalidInputError for others'."""
    traces = [episode.traces[0] for episode in found]
    if not traces or any(_INFO not in trace.info for trace in traces):
        raise InvalidInputError(
            f"episodes: no info {_INFO!r} in them; only what `episodes` wrote says which group it is"
        )
    info = traces[0].info[_INFO]
    return RolloutGroup(
        id=info["id"],
        lease_id=info["lease_id"],
        problem=Problem(**info["problem"]),
        prompt_token_ids=np.array(traces[0].nodes[0].token_ids, np.int32),
        samples=tuple(_sample(trace) for trace in traces),
        policy_version=info["policy_version"],
        epoch=info["epoch"],
    )


def _trace(group: RolloutGroup, sample: Sample, name: str) -> Trace:
    import verifiers.v1 as vf  # noqa: PLC0415 - as above
    from verifiers.v1.configs.agent import WireAgentConfig  # noqa: PLC0415

    asked = load_task(group.problem.task).prompt(group.problem)
    data = vf.WireTaskData(id=group.problem.id, prompt=asked, task=group.problem.task, answer=group.problem.gold)
    usage = vf.Usage(prompt_tokens=len(group.prompt_token_ids), completion_tokens=len(sample.token_ids))
    reason = "length" if sample.finish_reason == "length" else "stop"
    return vf.WireTrace(
        id=name,
        task=vf.TraceTask(type=group.problem.task, data=data, key=group.problem.id),
        agent=vf.AgentInfo(config=WireAgentConfig()),
        nodes=_nodes(group, sample, asked),
        calls=[vf.ModelCall(node=1, finish_reason=reason, usage=usage)],
        rewards={_REWARD: vf.Reward(score=sample.reward)},
        metrics={"backtracks": sample.backtracks},
        info={_INFO: _info(group, sample)},
        is_completed=True,
        ok=True,
        stop_condition=reason,
    )


def _nodes(group: RolloutGroup, sample: Sample, asked: str) -> list[MessageNode]:
    import verifiers.v1 as vf  # noqa: PLC0415 - as above

    prompt = group.prompt_token_ids.tolist()
    trained = sample.mask.astype(bool)
    question = vf.MessageNode(message=vf.UserMessage(content=asked), token_ids=prompt, mask=[False] * len(prompt))
    answer = vf.MessageNode(
        parent=0,
        message=vf.AssistantMessage(content=sample.text),
        sampled=True,
        token_ids=sample.token_ids.tolist(),
        mask=trained.tolist(),
        logprobs=sample.logprobs[trained].tolist(),
    )
    return [question, answer]


def _info(group: RolloutGroup, sample: Sample) -> dict[str, Any]:
    return {
        "id": group.id,
        "lease_id": group.lease_id,
        "epoch": group.epoch,
        "policy_version": group.policy_version,
        "policy_versions": list(sample.policy_versions),
        "problem": asdict(group.problem),
        "grade": {**asdict(sample.grade), "verdict": sample.grade.verdict.value},
        "finish_reason": sample.finish_reason,
        "cost": asdict(sample.cost),
    }


def _sample(trace: Trace) -> Sample:
    answer, info = trace.nodes[1], trace.info[_INFO]
    mask = np.array(answer.mask, np.uint8)
    logprobs = np.zeros(len(mask), np.float32)
    logprobs[mask.astype(bool)] = answer.logprobs
    first, last = info["policy_versions"]
    return Sample(
        token_ids=np.array(answer.token_ids, np.int32),
        logprobs=logprobs,
        text=answer.message.content,
        finish_reason=info["finish_reason"],
        grade=Grade(**{**info["grade"], "verdict": Verdict(info["grade"]["verdict"])}),
        reward=trace.rewards[_REWARD].score,
        backtracks=int(trace.metrics["backtracks"]),
        mask=mask,
        policy_versions=(first, last),
        cost=Cost(**info["cost"]),
    )
