"""A recipe file and a checkpoint folder that pass every check made before work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def write_recipe(folder: Path, **changes: Any) -> Path:
    """`folder`/recipe.yaml with its checkpoint beside it; `changes` replace top-level keys."""
    checkpoint = folder / "base"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "config.json").write_text("{}", encoding="utf-8")
    (checkpoint / "model.safetensors").write_bytes(b"\0" * 2000)
    count = {"options": {"num_numbers": 3, "count": 5}}
    recipe = {
        "name": "tiny",
        "seed": 1,
        "task": "countdown",
        "policy": {"checkpoint": "base", "max_model_tokens": 256},
        "problems": {"search": count, "rl": count, "evaluate": count},
        "rl": {"num_steps": 3},
        "arms": ["base", "direct_sft", "astro_sft", "astro_rl"],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe | changes), encoding="utf-8")
    return path
