"""What TRL's own functions, and its SFTTrainer, make of our rows: python program_trl.py FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from tiny_world_of_interop import tiny_model, tiny_tokenizer
from trl import SFTConfig, SFTTrainer
from trl.data_utils import is_conversational

from retrograde.core.problem import Problem
from retrograde.interop import trl

LINE = {"id": "s", "prompt": "ab:", "completion": "aabb", "chat": False}
CHAT = LINE | {"chat": True, "prompt": "ab"}


def prepared(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The row as SFTTrainer tokenises it for training."""
    args = SFTConfig(str(folder), report_to="none", bf16=False, use_cpu=True)
    trainer = SFTTrainer(tiny_model(), args, train_dataset=Dataset.from_list([row]), processing_class=tiny_tokenizer())
    (made,) = trainer.train_dataset
    return {name: made[name] for name in ("input_ids", "labels")}


def main() -> None:
    """Prints everything as a line of JSON."""
    folder = Path(sys.argv[1])
    rows = {
        "text": trl.prompt_completion(LINE),
        "chat": trl.prompt_completion(CHAT),
        "messages": trl.messages(CHAT),
        "prompt": trl.prompt_only(Problem("p", "math", "2 + 2?", "4")),
    }
    found = {
        "conversational": {name: is_conversational(row) for name, row in rows.items()},
        "prepared": {name: prepared(rows[name], folder) for name in ("text", "chat", "messages")},
        "read": [trl.dataset_row(dict(each)) for each in Dataset.from_list([rows["chat"]])],
    }
    print(json.dumps(found))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
