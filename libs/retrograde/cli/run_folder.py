"""The folder given by `--out`: whose it is, whether there is room in it, and what a finished run leaves there.

run.json  supervisor.json  services/  logs/  work/  broker.db  store/      while it runs
report.json  report.html  solutions.jsonl  trees/  checkpoints/<arm>/      brought from the store at the end
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from retrograde.cli.solutions import read_solutions, solution_row
from retrograde.recipe.recipe import Recipe
from retrograde.runtime.errors import ConflictError, InvalidInputError
from retrograde.runtime.objects import ObjectStore

_FIXED_BYTES = 256 << 20
_COPIES_PER_TRAINED_ARM = 6  # weights, optimiser state of two moments, a save in the making, the RL policies kept
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class RunFolder:
    """`path` is absolute."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        """The folder, made if missing. Raises InvalidInputError when that cannot be."""
        absolute = path.expanduser().absolute()
        try:
            absolute.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(f"--out {path}: {error.strerror}; choose a folder you may write to") from error
        if not os.access(absolute, os.W_OK):
            raise InvalidInputError(f"--out {path}: not writable; choose a folder you may write to")
        return cls(absolute)

    def claim(self, recipe: Recipe) -> str:
        """Marks the folder as this recipe's and returns its run id. Raises ConflictError if it is another recipe's."""
        run_id = run_id_of(recipe)
        marker = self.path / "run.json"
        if marker.exists():
            found = _read_marker(marker)
            if found.get("recipe_hash") != recipe.hash:
                raise ConflictError(
                    f"--out {self.path}: belongs to recipe {found.get('recipe')} ({found.get('recipe_hash')}), not to "
                    f"{recipe.name} ({recipe.hash}); choose another --out, or delete this one"
                )
            return run_id
        record = {"run_id": run_id, "recipe": recipe.name, "recipe_hash": recipe.hash}
        partial = marker.with_suffix(".partial")
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.replace(marker)
        return run_id

    def run_id(self) -> str:
        """The id of the run that lives here. Raises InvalidInputError if none does."""
        marker = self.path / "run.json"
        if not marker.exists():
            raise InvalidInputError(f"{self.path}: holds no run (no run.json); give the --out of a `retrograde run`")
        return str(_read_marker(marker)["run_id"])

    def check_room(self, recipe: Recipe) -> None:
        """Raises InvalidInputError when the disk has less room than the run is likely to need."""
        needed, free = bytes_needed(recipe), shutil.disk_usage(self.path).free
        if free < needed:
            raise InvalidInputError(
                f"--out {self.path}: {free // _MIB:,} MiB free on its disk, the run needs about {needed // _MIB:,}; "
                "free some or choose a folder on another disk"
            )

    def bring_back(self, store: ObjectStore, run_id: str) -> list[Path]:
        """Copies the run's outputs from the store, each whole or not at all; returns what now lies there."""
        prefix = f"runs/{run_id}"
        brought = self.bring_report(store, run_id)
        brought.append(self._solutions(store, prefix))
        for key in store.list(f"{prefix}/trees/"):
            self._file(store, key, f"trees/{key.rpartition('/')[2]}")
        brought.append(self.path / "trees")
        brought += [self._checkpoint(store, prefix, arm) for arm in _arms(store, prefix)]
        return [path for path in brought if path.exists()]

    def bring_report(self, store: ObjectStore, run_id: str) -> list[Path]:
        """Copies the report alone."""
        return [self._file(store, f"runs/{run_id}/{name}", name) for name in ("report.json", "report.html")]

    def write_report(self, files: Mapping[str, bytes]) -> list[Path]:
        """Writes a report that came from elsewhere, by the names of its files."""
        for name, data in files.items():
            _write(self.path / name, data)
        return [self.path / name for name in files]

    def _file(self, store: ObjectStore, key: str, name: str) -> Path:
        target = self.path / name
        if store.exists(key):
            _write(target, store.get(key))
        return target

    def _solutions(self, store: ObjectStore, prefix: str) -> Path:
        target = self.path / "solutions.jsonl"
        rows = (json.dumps(solution_row(solution), ensure_ascii=False) for solution in read_solutions(store, prefix))
        _write(target, "".join(f"{row}\n" for row in rows).encode())
        return target

    def _checkpoint(self, store: ObjectStore, prefix: str, arm: str) -> Path:
        target = self.path / "checkpoints" / arm
        partial = target.with_name(f".{arm}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        store.download(f"{prefix}/checkpoints/{arm}", partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
        return target


def run_id_of(recipe: Recipe) -> str:
    """The same recipe always gives the same run, so that the same command continues it."""
    return f"{recipe.name[:48]}-{recipe.hash[:8]}"


def bytes_needed(recipe: Recipe) -> int:
    """A generous estimate: each trained arm keeps its weights, optimiser state and the policies of RL; plus trees."""
    folder = Path(recipe.policy.checkpoint)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    trained = sum(arm.endswith(("_sft", "_rl")) for arm in recipe.arms)
    return _FIXED_BYTES + weights * (1 + _COPIES_PER_TRAINED_ARM * trained)


def _arms(store: ObjectStore, prefix: str) -> Iterator[str]:
    for key in store.list(f"{prefix}/checkpoints/"):
        if key.endswith("/MANIFEST.json"):
            yield key.split("/")[-2]


def _read_marker(marker: Path) -> dict[str, object]:
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{marker}: cannot be read as JSON ({error}); delete the folder or choose another"
        ) from error
    return found if isinstance(found, dict) else {}


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(data)
    partial.replace(target)
