"""First stages: the policy the run starts from, and the problems of every split."""

from __future__ import annotations

from pathlib import Path

from retrograde.core.problem import Cost
from retrograde.recipe.recipe import ProblemSource
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import InvalidInputError
from retrograde.tasks.task import TaskError, load_task
from services.trainer.stages.stage import Progress, RunContext, problems_to_bytes


class ProblemsStage:
    """Stores `recipe.json` and `problems/<split>.jsonl`."""

    name = "problems"
    unit = "problems"
    serves = ""

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage. Raises InvalidInputError when the task refuses an option."""
        recipe = context.recipe
        await in_thread(context.store.put, context.key("recipe.json"), recipe.model_dump_json().encode())
        splits = {"search": recipe.problems.search, "rl": recipe.problems.rl, "evaluate": recipe.problems.evaluate}
        done = 0
        for split, source in splits.items():
            if source is not None:
                done += await self._store_split(context, split, source)
                await progress(done, done, split)
        return Cost()

    async def _store_split(self, context: RunContext, split: str, source: ProblemSource) -> int:
        task = load_task(context.recipe.task)
        try:
            problems = await in_thread(task.problems, source.options, split, context.recipe.seed)
        except TaskError as error:
            raise InvalidInputError(f"problems.{split}.{error}") from error
        await in_thread(context.store.put, context.key(f"problems/{split}.jsonl"), problems_to_bytes(problems))
        return len(problems)


class PolicyStage:
    """Stores the policy the run starts from as checkpoint `base`."""

    name = "policy"
    unit = "checkpoints"
    serves = ""

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage. Raises InvalidInputError when the checkpoint is not there."""
        folder = Path(context.recipe.policy.checkpoint)
        if not (folder / "config.json").is_file():
            raise InvalidInputError(f"policy.checkpoint: {folder} is not a Hugging Face directory (no config.json)")
        key = context.key("checkpoints/base")
        if not await in_thread(context.store.exists, f"{key}/MANIFEST.json"):
            await in_thread(context.store.upload, key, folder)
        await progress(1, 1, str(folder))
        return Cost()
