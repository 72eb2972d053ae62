"""A feed delivers graded groups, leaves out what has no verdict, and is found again after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from retrograde.core.policy import Completion, Generation, Prompt, Sampling
from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from services.rollouts.feed import Feeds
from services.rollouts.settings import FeedSettings

PROBLEMS = [Problem(f"p{i}", "countdown", "Numbers: 3 7 7, target: 28.", "28") for i in range(5)]
SETTINGS = FeedSettings(group_size=4, max_tokens=8)


class ScriptedPolicy:
    """Answers every prompt with n copies of one text."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        completion = Completion("text", np.int32([1, 2]), np.float32([-0.5, -0.5]), -1.0)
        return Generation((completion,) * sampling.n, policy_version=3, prompt_token_ids=np.int32([7]))


class ScriptedVerifier:
    """Grades every group with the same verdicts."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = verdicts

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        return [Grade(verdict) for _, verdict in zip(items, self.verdicts, strict=True)]


def feeds(folder: Path, *verdicts: Verdict) -> Feeds:
    """The service's feeds over a store that holds the prompts."""
    store = open_store(f"file://{folder}")
    store.put("prompts.jsonl", "\n".join(json.dumps(asdict(problem)) for problem in PROBLEMS).encode())
    return Feeds(store, ScriptedPolicy(), ScriptedVerifier(*verdicts), asyncio.Semaphore(8))


MIXED = (Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSABLE, Verdict.CORRECT)


async def test_groups_carry_the_papers_reward(tmp_path: Path) -> None:
    """Correct is +1, incorrect and unparsable are -1; the policy's version is stamped on."""
    feed = await feeds(tmp_path, *MIXED).open("f", "prompts.jsonl", SETTINGS)
    (group,) = [group async for group in feed.pull(1, 0)]
    assert [sample.reward for sample in group.samples] == [1.0, -1.0, -1.0, 1.0]
    assert group.policy_version == 3


async def test_a_timeout_is_left_out_and_never_a_reward(tmp_path: Path) -> None:
    """Samples without a verdict on the answer are not in the group."""
    verdicts = (Verdict.TIMEOUT, Verdict.CORRECT, Verdict.ERROR, Verdict.INCORRECT)
    feed = await feeds(tmp_path, *verdicts).open("f", "prompts.jsonl", SETTINGS)
    (group,) = [group async for group in feed.pull(1, 0)]
    assert [sample.grade.verdict for sample in group.samples] == [Verdict.CORRECT, Verdict.INCORRECT]


async def test_a_group_that_cannot_be_graded_is_an_error_and_its_prompt_stays_free(tmp_path: Path) -> None:
    """With the verifier failing on everything the pull fails, and the prompt is not lost."""
    opened = feeds(tmp_path, *(Verdict.ERROR,) * 4)
    feed = await opened.open("f", "prompts.jsonl", SETTINGS)
    with pytest.raises(UnavailableError, match="could not be graded"):
        [group async for group in feed.pull(1, 0)]
    feed.verifier = ScriptedVerifier(*MIXED)
    assert [group.id async for group in feed.pull(1, 0)] == ["0000-0000000"]


async def test_an_older_policy_than_asked_for_is_refused(tmp_path: Path) -> None:
    """Samples of a stale policy are not delivered as fresh ones."""
    feed = await feeds(tmp_path, *MIXED).open("f", "prompts.jsonl", SETTINGS)
    with pytest.raises(UnavailableError, match="policy 3 is served; 4"):
        [group async for group in feed.pull(1, 4)]


async def test_a_restarted_service_finds_the_feed(tmp_path: Path) -> None:
    """Another process pulls and acknowledges without opening again; a used prompt does not come back."""
    first = await feeds(tmp_path, *MIXED).open("f", "prompts.jsonl", SETTINGS)
    groups = [group async for group in first.pull(3, 0)]
    second = await feeds(tmp_path, *MIXED).get("f")
    assert await second.acknowledge([group.lease_id for group in groups]) == 3
    rest = [group async for group in second.pull(2, 0)]
    assert {group.problem.id for group in groups + rest} == {problem.id for problem in PROBLEMS}


async def test_another_description_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """A feed's prompts and settings cannot change under a trainer."""
    opened = feeds(tmp_path, *MIXED)
    await opened.open("f", "prompts.jsonl", SETTINGS)
    with pytest.raises(ConflictError, match="'f' exists with other"):
        await opened.open("f", "prompts.jsonl", FeedSettings(group_size=2))


async def test_unknown_feed_and_empty_prompts_are_named(tmp_path: Path) -> None:
    """Errors name the field, the value and the fix."""
    opened = feeds(tmp_path, *MIXED)
    with pytest.raises(NotFoundError, match="'nope' is unknown; open it"):
        await opened.get("nope")
    opened.store.put("empty.jsonl", b"")
    with pytest.raises(InvalidInputError, match=r"prompts_key: 'empty\.jsonl' holds no problem"):
        await opened.open("g", "empty.jsonl", SETTINGS)
