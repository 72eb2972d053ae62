"""A feed delivers graded groups, leaves out what has no verdict, and is found again after a restart."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from retrograde.core.problem import Cost, Problem, Verdict
from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from services.rollouts.pulls import Pull
from services.rollouts.settings import FeedSettings
from tests.unit.rollouts.rollouts_fakes import (
    PROBLEMS,
    ScriptedPolicy,
    ScriptedVerifier,
    leases,
    pulled,
    service,
    until,
)

SETTINGS = FeedSettings(group_size=4, max_tokens=8)
MIXED = (Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSABLE, Verdict.CORRECT)


async def test_groups_carry_the_papers_reward(tmp_path: Path) -> None:
    """Correct is +1, incorrect and unparsable are -1; the policy's version is stamped on."""
    async with service(tmp_path, verifier=ScriptedVerifier(MIXED)) as feeds:
        (group,) = await pulled(await feeds.open("f", "prompts.jsonl", SETTINGS), 1)
    assert [sample.reward for sample in group.samples] == [1.0, -1.0, -1.0, 1.0]
    assert group.policy_version == 3
    assert {sample.policy_versions for sample in group.samples} == {(3, 3)}


async def test_a_groups_costs_add_up(tmp_path: Path) -> None:
    """Each sample has its tokens and its judging; what they share, samples left out included, is on the first."""
    verdicts = (Verdict.TIMEOUT, Verdict.CORRECT, Verdict.INCORRECT, Verdict.INCORRECT)
    async with service(tmp_path, verifier=ScriptedVerifier(verdicts)) as feeds:
        (group,) = await pulled(await feeds.open("f", "prompts.jsonl", SETTINGS), 1)
    total = Cost()
    for sample in group.samples:
        total.add(sample.cost)
    wall_seconds, total.wall_seconds = total.wall_seconds, 0.0
    assert wall_seconds > 0
    assert total == Cost(2, 8, 4, 0.0, 0.5, 1)
    assert group.samples[1].cost == Cost(generated_tokens=2, verifier_calls=1)


async def test_a_timeout_is_left_out_and_never_a_reward(tmp_path: Path) -> None:
    """Samples without a verdict on the answer are not in the group."""
    verdicts = (Verdict.TIMEOUT, Verdict.CORRECT, Verdict.ERROR, Verdict.INCORRECT)
    async with service(tmp_path, verifier=ScriptedVerifier(verdicts)) as feeds:
        (group,) = await pulled(await feeds.open("f", "prompts.jsonl", SETTINGS), 1)
    assert [sample.grade.verdict for sample in group.samples] == [Verdict.CORRECT, Verdict.INCORRECT]


async def test_a_prompt_that_cannot_be_graded_is_dropped_and_the_feed_goes_on(tmp_path: Path) -> None:
    """Wherever it stands in an epoch: the other four of both epochs are delivered, and the ledger says why not all."""
    verifier = ScriptedVerifier(MIXED, of_problem={"p2": (Verdict.TIMEOUT,) * 4})
    async with service(tmp_path, verifier=verifier) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS.model_copy(update={"num_epochs": 2}))
        groups = await pulled(feed, 8)
        assert sorted(group.problem.id for group in groups) == sorted(2 * ["p0", "p1", "p3", "p4"])
        await feed.acknowledge(leases(groups))
        assert await pulled(feed, 1) == []
        assert feed.tickets.dropped == {"ungraded": 2}


async def test_a_verifier_that_judges_nothing_is_an_error(tmp_path: Path) -> None:
    """The pull fails after some prompts and says so; once the verifier is well the next one works."""
    verifier = ScriptedVerifier((Verdict.ERROR,) * 4)
    async with service(tmp_path, verifier=verifier) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        with pytest.raises(UnavailableError, match="16 groups in a row could not be graded"):
            await pulled(feed, 1)
        verifier.verdicts = MIXED
        assert len(await pulled(feed, 1)) == 1


async def test_any_character_may_stand_in_a_statement(tmp_path: Path) -> None:
    """Also those that end a line elsewhere: JSON lines end at a line feed alone."""
    problem = Problem("p", "countdown", "Numbers: 3 7 7,\u2028target: 28.\u2029\x85", "28")
    async with service(tmp_path, verifier=ScriptedVerifier(MIXED)) as feeds:
        feeds.store.put("raw.jsonl", json.dumps(asdict(problem), ensure_ascii=False).encode() + b"\n\n")
        feed = await feeds.open("f", "raw.jsonl", SETTINGS)
    assert feed.maker.problems == [problem]


async def test_closing_begins_nothing(tmp_path: Path) -> None:
    """What is broken off is not sampled in the same moment again, although somebody waits for it."""
    policy = ScriptedPolicy()
    policy.gate.clear()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        waiting = asyncio.create_task(pulled(feed, 3))
        await until(lambda: policy.running == 3)
        await feed.close()
        assert (len(policy.asked), feed.sampling) == (3, set())
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_draining_service_begins_nothing_and_lets_its_pulls_go(tmp_path: Path) -> None:
    """One that waits for samples and one that waits for an acknowledgement are told to pull again."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy, ScriptedVerifier(MIXED)) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        full = feed.pull(Pull(3, consumer="full", max_unacknowledged=1))
        await anext(full)
        policy.gate.clear()
        waiting = asyncio.create_task(pulled(feed, 1))
        await until(lambda: policy.running == 1)
        feeds.drain.set()
        for pull in (anext(full), waiting):
            with pytest.raises(UnavailableError, match="this process is draining; pull again"):
                await pull
        policy.gate.set()
        await until(lambda: not feed.sampling)
        assert len(policy.asked) == 2


@pytest.mark.parametrize("num_turns", range(5))
async def test_a_pull_that_breaks_off_as_something_changes_stands_in_line_no_more(
    tmp_path: Path, num_turns: int
) -> None:
    """However many turns of the loop lie between the two: nothing is sampled for it."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy, ScriptedVerifier(MIXED)) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        await pulled(feed, 1)
        policy.gate.clear()
        waiting = asyncio.create_task(pulled(feed, 1))
        await until(lambda: policy.running == 1)
        feed._notify()
        for _ in range(num_turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=10)
        assert (waiting.done(), feed.line) == (True, [])


async def test_an_older_policy_than_asked_for_is_refused_until_it_is_served(tmp_path: Path) -> None:
    """Samples of a stale policy are not delivered as fresh ones; the next pull is sampled again."""
    policy = ScriptedPolicy(version=3)
    async with service(tmp_path, policy, ScriptedVerifier(MIXED)) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        with pytest.raises(UnavailableError, match="policy 3 is served; 4"):
            await pulled(feed, 1, min_policy_version=4)
        policy.version = 4
        assert [group.policy_version for group in await pulled(feed, 1, min_policy_version=4)] == [4]


async def test_a_restarted_service_finds_the_feed(tmp_path: Path) -> None:
    """Another process pulls and acknowledges without opening again; a used prompt does not come back."""
    async with service(tmp_path, verifier=ScriptedVerifier(MIXED)) as feeds:
        groups = await pulled(await feeds.open("f", "prompts.jsonl", SETTINGS), 3)
    async with service(tmp_path, verifier=ScriptedVerifier(MIXED)) as feeds:
        feed = await feeds.get("f")
        assert await feed.acknowledge(leases(groups)) == 3
        rest = await pulled(feed, 2)
    assert {group.problem.id for group in groups + rest} == {problem.id for problem in PROBLEMS}


async def test_another_description_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """A feed's prompts and settings cannot change under a trainer."""
    async with service(tmp_path) as feeds:
        await feeds.open("f", "prompts.jsonl", SETTINGS)
        with pytest.raises(ConflictError, match="'f' exists with other"):
            await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2))


async def test_a_description_without_a_newer_setting_is_the_one_with_its_default(tmp_path: Path) -> None:
    """A feed outlives the release that first described it."""
    async with service(tmp_path) as feeds:
        described = {"prompts_key": "prompts.jsonl", "settings": {"group_size": 4, "max_tokens": 8}}
        feeds.store.put("f/feed.json", json.dumps(described).encode())
        assert (await feeds.open("f", "prompts.jsonl", SETTINGS)).settings == SETTINGS


async def test_unknown_feed_and_empty_prompts_are_named(tmp_path: Path) -> None:
    """Errors name the field, the value and the fix."""
    async with service(tmp_path) as feeds:
        with pytest.raises(NotFoundError, match="'nope' is unknown; open it"):
            await feeds.get("nope")
        feeds.store.put("empty.jsonl", b"")
        with pytest.raises(InvalidInputError, match=r"prompts_key: 'empty\.jsonl' holds no problem"):
            await feeds.open("g", "empty.jsonl", SETTINGS)


NO_TASK = json.dumps({**asdict(PROBLEMS[0]), "task": "no_such_task"}).encode()


@pytest.mark.parametrize("wrong", [None, b"", b"none\n", b'{"id": "p"}\n', b"7\n", b"\xff\n", NO_TASK])
async def test_a_wrong_prompts_key_takes_no_name(tmp_path: Path, wrong: bytes | None) -> None:
    """After an object that is missing, empty or holds no problems of ours the corrected call opens the feed."""
    async with service(tmp_path) as feeds:
        if wrong is not None:
            feeds.store.put("prompts.jsnl", wrong)
        with pytest.raises((NotFoundError, InvalidInputError), match=r"prompts\.jsnl"):
            await feeds.open("f", "prompts.jsnl", SETTINGS)
        assert (await feeds.open("f", "prompts.jsonl", SETTINGS)).maker.problems == PROBLEMS


async def test_a_prompt_that_its_task_cannot_read_is_named(tmp_path: Path) -> None:
    """Whoever pulls is told which, and what is wrong with it."""
    problem = Problem("p", "countdown", "nonsense", "28")
    async with service(tmp_path, verifier=ScriptedVerifier(MIXED), problems=[problem]) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        with pytest.raises(InvalidInputError, match=r"prompt 'p': .*'nonsense' is no Countdown problem"):
            await pulled(feed, 1)
