"""The two arms learn from matched sets, chosen by the seed alone."""

from __future__ import annotations

import random

from retrograde.core.problem import Problem
from retrograde.core.solution import Rewriter, SearchTrace, Sentence, SentenceKind, Solution, SolutionKind
from retrograde.tasks.task import load_task
from services.trainer.stages.dataset import dataset_row, match_sets

PROBLEM = Problem("p", "countdown", "s", "28")
TRACE = SearchTrace("runs/r/trees/p.pb", (), ())


def solution(name: str, kind: SolutionKind, *sentences: Sentence) -> Solution:
    return Solution(name, PROBLEM, "Solution:\n", sentences, kind, Rewriter.TEMPLATE, TRACE)


def many(num_direct: int, num_search: int) -> list[Solution]:
    direct = [solution(f"d{i}", SolutionKind.DIRECT) for i in range(num_direct)]
    return direct + [solution(f"s{i}", SolutionKind.SEARCH) for i in range(num_search)]


def test_sets_are_matched_in_count_with_the_share_of_direct_ones() -> None:
    """Eight direct and twelve search solutions give eight each, two of the astro set direct."""
    sets = match_sets(many(8, 12), direct_share=0.25, max_solutions=0, num_tokens=None, rng=random.Random(1))
    kinds = [chosen.kind for chosen in sets.astro]
    assert (len(sets.direct), len(sets.astro), kinds.count(SolutionKind.DIRECT)) == (8, 8, 2)
    assert {chosen.kind for chosen in sets.direct} == {SolutionKind.DIRECT}


def test_the_scarcer_kind_and_the_cap_bound_both_sets() -> None:
    """Three search solutions at a share of a quarter allow four each; a cap of two leaves two."""
    few = match_sets(many(8, 3), direct_share=0.25, max_solutions=0, num_tokens=None, rng=random.Random(1))
    capped = match_sets(many(8, 12), direct_share=0.0, max_solutions=2, num_tokens=None, rng=random.Random(1))
    assert (len(few.direct), len(few.astro)) == (4, 4)
    assert (len(capped.direct), len(capped.astro)) == (2, 2)


def test_token_matching_gives_the_astro_set_no_more_tokens() -> None:
    """With search solutions three times as long, a third of the count is left."""

    def num_tokens(chosen: Solution) -> int:
        return 10 if chosen.kind is SolutionKind.DIRECT else 30

    sets = match_sets(many(9, 9), direct_share=0.0, max_solutions=0, num_tokens=num_tokens, rng=random.Random(1))
    assert (len(sets.direct), len(sets.astro)) == (9, 3)


def test_the_choice_is_a_function_of_the_seed() -> None:
    """The same seed chooses the same solutions in the same order."""

    def names(seed: int) -> list[str]:
        rng = random.Random(seed)
        sets = match_sets(many(20, 20), direct_share=0.25, max_solutions=10, num_tokens=None, rng=rng)
        return [chosen.id for chosen in sets.astro]

    assert names(1) == names(1)
    assert names(1) != names(2)


def test_segments_spell_the_completion_and_keep_the_verdict_of_a_wrong_branch() -> None:
    """Joined segments are the completion; a wrong terminal step keeps its loss from the verdict on."""
    wrong = " 21 + 7 = 29, the target is 28: no.\n"
    row = dataset_row(
        load_task("countdown"),
        solution(
            "x",
            SolutionKind.SEARCH,
            Sentence(SentenceKind.STEP, " 3 * 7 = 21, left: 7 21\n", 1),
            Sentence(SentenceKind.STEP, wrong, 2, on_path=False),
        ),
    )
    segments = row["segments"]
    assert isinstance(segments, list)
    assert "".join(segment["text"] for segment in segments) == row["completion"]
    assert "keep_from" not in segments[0]
    assert wrong[segments[1]["keep_from"] :].startswith(", the target is")
