"""How the ranks of a job wait for each other."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from torch import distributed

from services.trainer.job.ranks import meet


def test_ranks_wait_longer_than_a_step_takes_to_be_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backends' own patience, half an hour at most, would kill those that wait for the first one's groups."""
    monkeypatch.delenv("RANK", raising=False)

    meet("gloo")
    try:
        group = distributed.distributed_c10d._get_default_group()
        assert group._get_backend(torch.device("cpu")).options._timeout >= timedelta(hours=12)
    finally:
        distributed.destroy_process_group()
