"""The shipped base models: their tokenizer is exact, and what the recipes ask of them fits."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from retrograde.core.problem import Problem
from retrograde.recipe.recipe import load_recipe
from retrograde.tasks.countdown import MAX_VALUE, TASK, State, after, moves, read_statement, step_text

ROOT = Path(__file__).parents[3]
BASES = ("countdown-base", "countdown4-base")
RECIPES = ("countdown", "countdown4")


def _chain(problem: Problem, rng: random.Random) -> str:
    """Two random attempts with a doubt and a return between them."""
    numbers, target = read_statement(problem.statement)
    recall = TASK.phrases.restart.format(recall=TASK.recall(problem, []))
    return _attempt(numbers, target, rng) + TASK.phrases.doubt + recall + _attempt(numbers, target, rng)


def _attempt(state: State, target: int, rng: random.Random) -> str:
    text = ""
    while len(state) > 1:
        a, operator, b, result = rng.choice(list(moves(state)))
        left = after(state, a, b, result)
        assert left is not None
        text, state = text + step_text(a, operator, b, result, left, target), left
    return text


@pytest.mark.parametrize("base", BASES)
def test_tokenizer_is_exact(base: str) -> None:
    """Decoding an encoded chain gives the same bytes, no token is unknown, and numbers are one token each."""
    tokenizer = Tokenizer.from_file(str(ROOT / "models" / base / "tokenizer.json"))
    unknown = tokenizer.token_to_id("<unk>")
    rng = random.Random(0)
    for problem in TASK.problems({"num_numbers": [3, 4], "count": 50}, "validation", 0):
        text = TASK.prompt(problem) + _chain(problem, rng)
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == text
        assert unknown not in ids
    assert len(tokenizer.encode(f" {MAX_VALUE}").ids) == 1


@pytest.mark.parametrize("base", BASES)
def test_prompt_and_steps_meet_between_tokens(base: str) -> None:
    """Encoding a prompt and a begun solution apart gives the ids of both together: what search and training rely on."""
    tokenizer = Tokenizer.from_file(str(ROOT / "models" / base / "tokenizer.json"))
    problem = TASK.problems({"count": 1}, "validation", 0)[0]
    parts = [TASK.prompt(problem), *TASK.split(_chain(problem, random.Random(1)))]
    assert [index for part in parts for index in tokenizer.encode(part).ids] == tokenizer.encode("".join(parts)).ids


@pytest.mark.parametrize("base", BASES)
def test_shipped_weights_are_small(base: str) -> None:
    """A base has at most a million parameters and eight megabytes, and heads that the engine supports on CPU."""
    folder = ROOT / "models" / base
    config = json.loads((folder / "config.json").read_text())
    size = (folder / "model.safetensors").stat().st_size
    assert size <= 4_000_000 + 100_000
    assert config["hidden_size"] // config["num_attention_heads"] == config["head_dim"] == 32
    assert config["bos_token_id"] is None


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_fits_its_base(name: str) -> None:
    """The recipe's longest answer fits the context, its numbers the vocabulary, and its evaluation is big enough."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    config = json.loads((Path(recipe.policy.checkpoint) / "config.json").read_text())
    assert recipe.rl is not None
    assert recipe.policy.max_model_tokens <= config["max_position_embeddings"]
    assert max(recipe.evaluate.max_tokens, recipe.rl.max_tokens) + 12 <= recipe.policy.max_model_tokens
    for source in (recipe.problems.search, recipe.problems.evaluate):
        problems = TASK.problems(source.options, "search", recipe.seed)
        assert len(problems) >= 200
        assert all(int(problem.gold) <= 100 for problem in problems)
