"""Two models, the store that has them as checkpoints, and the settings of a service that serves the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrograde.cli.topology import free_ports
from retrograde.runtime.adapters import open_store
from tests.integration.inference.tiny_model import make_model

if TYPE_CHECKING:
    from pathlib import Path


class World:
    """The service with model "a", and checkpoints "a" and "b" in its store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = {name: make_model(folder / name, seed) for seed, name in enumerate("ab")}
        url = f"file://{folder / 'store'}"
        store = open_store(url)
        for name, model in self.models.items():
            store.upload(name, model)
        self.http_port = free_ports(1)[0]
        self.settings: dict[str, Any] = {
            "checkpoint": str(self.models["a"]),
            "store": url,
            "kv_cache_bytes": 1 << 26,
            "max_n": 16,
            "max_num_seqs": 32,
            "cache": str(folder / "cache"),
            "openai_port": self.http_port,
        }
