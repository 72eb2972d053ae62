"""Solutions to the two matched training sets: `datasets/direct.jsonl` and `datasets/astro.jsonl`.

The direct arm learns from direct solutions only; the astro arm from search solutions with a share of direct ones. Both
get equally many solutions, or equally many tokens, as the recipe says. The choice is a function of the seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from retrograde.core.problem import Cost
from retrograde.core.solution import Sentence, SentenceKind, Solution, SolutionKind
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import InvalidInputError
from retrograde.tasks.task import Task, load_task
from retrograde.v1 import solution_pb2
from retrograde.wire.convert_solution import solution_set_from_proto
from services.trainer.stages.stage import Progress, RunContext, json_lines


@dataclass(frozen=True, slots=True)
class Sets:
    """The training sets of the two arms."""

    direct: Sequence[Solution]
    astro: Sequence[Solution]


class DatasetStage:
    """Chooses, matches and writes the sets."""

    name = "dataset"
    unit = "solutions"
    serves = ""

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage. Raises InvalidInputError when there is nothing to train on."""
        solutions = await in_thread(_read_solutions, context)
        sets = await in_thread(_choose, context, solutions)
        task = load_task(context.recipe.task)
        for name, chosen in (("direct", sets.direct), ("astro", sets.astro)):
            rows = json_lines(dataset_row(task, solution) for solution in chosen)
            await in_thread(context.store.put, context.key(f"datasets/{name}.jsonl"), rows)
        await progress(len(sets.direct) + len(sets.astro), len(solutions), "chosen of all")
        return Cost()


def match_sets(
    solutions: Sequence[Solution],
    *,
    direct_share: float,
    max_solutions: int,
    num_tokens: Callable[[Solution], int] | None,
    rng: random.Random,
) -> Sets:
    """The two sets, matched in count, or in tokens if `num_tokens` is given. Deterministic under `rng`."""
    direct = [solution for solution in solutions if solution.kind is SolutionKind.DIRECT]
    search = [solution for solution in solutions if solution.kind is SolutionKind.SEARCH]
    count = len(direct)
    if direct_share < 1:
        count = min(count, int(len(search) / (1 - direct_share)))
    if max_solutions:
        count = min(count, max_solutions)
    direct_in_astro = round(count * direct_share)
    chosen = rng.sample(direct, count)
    astro = rng.sample(search, count - direct_in_astro) + rng.sample(direct, direct_in_astro)
    rng.shuffle(astro)
    if num_tokens is not None:
        astro = _up_to(astro, sum(map(num_tokens, chosen)), num_tokens)
    return Sets(chosen, astro)


def _up_to(solutions: Sequence[Solution], budget: int, num_tokens: Callable[[Solution], int]) -> list[Solution]:
    taken: list[Solution] = []
    for solution in solutions:
        budget -= num_tokens(solution)
        if budget < 0:
            break
        taken.append(solution)
    return taken


def dataset_row(task: Task, solution: Solution) -> dict[str, object]:
    """One line of a training set: prompt, completion, and the segments by which loss may be masked."""
    return {
        "id": solution.id,
        "problem_id": solution.problem.id,
        "prompt": solution.prompt,
        "completion": solution.completion,
        "chat": task.chat,
        "kind": solution.kind.value,
        "segments": [_segment(task, sentence) for sentence in solution.sentences],
        "provenance": {
            "tree_key": solution.trace.tree_key,
            "rewriter": solution.rewriter.value,
            "run_id": solution.provenance.run_id,
            "recipe_hash": solution.provenance.recipe_hash,
            "policy_version": solution.provenance.policy_version,
        },
    }


def _segment(task: Task, sentence: Sentence) -> dict[str, object]:
    segment: dict[str, object] = {
        "text": sentence.text,
        "kind": sentence.kind.value,
        "node": sentence.node,
        "on_path": sentence.on_path,
    }
    if sentence.kind is SentenceKind.STEP and not sentence.on_path:
        keep_from = task.verdict_start(sentence.text)
        if keep_from is not None:
            segment["keep_from"] = keep_from
    return segment


def _read_solutions(context: RunContext) -> list[Solution]:
    solutions: list[Solution] = []
    for key in context.store.list(context.key("solutions", "")):
        message = solution_pb2.SolutionSet.FromString(context.store.get(key))
        solutions.extend(solution_set_from_proto(message).solutions)
    return solutions


def _choose(context: RunContext, solutions: Sequence[Solution]) -> Sets:
    dataset = context.recipe.dataset
    num_tokens = _token_counter(context) if dataset.match == "tokens" else None
    sets = match_sets(
        solutions,
        direct_share=dataset.direct_share,
        max_solutions=dataset.max_solutions,
        num_tokens=num_tokens,
        rng=random.Random(f"{context.recipe.seed}:dataset"),
    )
    if not sets.direct or not sets.astro:
        raise InvalidInputError(
            f"search: {len(solutions)} solutions were found, too few to train on; search more problems or deeper trees"
        )
    return sets


def _token_counter(context: RunContext) -> Callable[[Solution], int]:
    description = context.store.get(context.key("checkpoints/base/tokenizer.json"))
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(description)))
    return lambda solution: len(tokenizer.encode(solution.prompt + solution.completion).ids)
