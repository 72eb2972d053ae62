"""The ranks of a job: who am I, how many are we, and how do we agree.

`torchrun` sets the environment of each rank; without it the process is the only rank and needs no address or port.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import deepspeed
import torch
from torch import distributed

from retrograde.core.settings import EngineSettings
from retrograde.runtime.lifeline import die_with_parent

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=1)
"""For the slowest rank, or for the first one while it waits for a step's groups."""
_LOOPBACK = {"localhost", "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Ranks:
    """This rank among `world_size`; `local_rank` counts on its node, `node` counts nodes."""

    rank: int
    world_size: int
    local_rank: int
    node: int
    num_nodes: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """The one rank that writes what all ranks share."""
        return self.rank == 0

    @property
    def is_first_of_node(self) -> bool:
        """The one rank of its node that touches the node's scratch folder."""
        return self.local_rank == 0

    def barrier(self) -> None:
        """Returns when every rank has come here."""
        distributed.barrier()

    def broadcast(self, value: T) -> T:
        """The first rank's `value`, on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def sum(self, values: torch.Tensor) -> list[float]:
        """Sums over ranks of `values` float64 [N]."""
        shared = values.to(self.device)
        distributed.all_reduce(shared)
        return [float(value) for value in shared.tolist()]


@contextmanager
def joined(settings: EngineSettings) -> Iterator[Ranks]:
    """Joins the other ranks, and leaves them at the end."""
    on_cuda = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    os.environ.setdefault("LOCAL_RANK", "0")
    local_rank = int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", local_rank) if on_cuda else torch.device("cpu")
    if on_cuda:
        torch.cuda.set_device(device)
    else:
        _settle_on_cpu(settings.num_threads)
    backend = "nccl" if on_cuda else "gloo"
    meet(backend)
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, rank=distributed.get_rank())
    try:
        yield _ranks(local_rank, device)
    finally:
        distributed.destroy_process_group()


def meet(backend: str) -> None:
    """Waits for the other ranks, if the environment tells of any."""
    alone: dict[str, Any] = {}
    if "RANK" in os.environ:
        die_with_parent()  # a rank has its own session: killing the launcher alone would leave it at work
    else:
        store = distributed.HashStore()  # type: ignore[attr-defined]  # public, but missing from __all__
        alone = {"store": store, "rank": 0, "world_size": 1}
    distributed.init_process_group(backend, timeout=LONGEST_WAIT, **alone)


def _ranks(local_rank: int, device: torch.device) -> Ranks:
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world_size = distributed.get_world_size()
    return Ranks(
        rank=distributed.get_rank(),
        world_size=world_size,
        local_rank=local_rank,
        node=int(os.environ.get("GROUP_RANK", "0")),
        num_nodes=max(1, world_size // local_world_size),
        device=device,
    )


def _settle_on_cpu(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(mode=True)
    if os.environ.get("MASTER_ADDR") in _LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # DeepSpeed would compile this operator for a minute at the first start; only its inference kernels use it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
