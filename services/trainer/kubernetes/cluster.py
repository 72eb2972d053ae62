"""The trainer in a cluster, built from its settings: the API server, the jobs' backend, the election, Run resources.

stands by  ->  leads: runs and Run resources are carried out  ->  drained: the lease is handed on
               the lease is lost: the process ends at once; whoever leads now continues its runs
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.trainer.controller import Controller
from services.trainer.kubernetes.access import from_kubeconfig, from_service_account
from services.trainer.kubernetes.api import KubernetesApi
from services.trainer.kubernetes.backend import KubernetesBackend, chosen_kind
from services.trainer.kubernetes.election import Election
from services.trainer.kubernetes.run_resources import RunResources
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.kubernetes.template import read_template

_CALLS_A_LEASE = 5


@dataclass(slots=True)
class Cluster:
    """`election` is None for the only trainer, which always leads."""

    api: KubernetesApi
    backend: KubernetesBackend
    election: Election | None = None

    def leads(self) -> bool:
        """Whether this trainer may change runs."""
        return self.election is None or self.election.leads

    async def work(self, controller: Controller, drain: asyncio.Event) -> None:
        """Carries runs out from when this trainer leads, until drain."""
        if self.election is None:
            await self._lead(controller, drain)
            return
        async with self.election.won(drain) as leads:
            if leads:
                await self._lead(controller, drain)

    async def _lead(self, controller: Controller, drain: asyncio.Event) -> None:
        """Raises FencedError when another trainer has begun on the store; drain is set by then, as at every end."""
        resources = RunResources(self.api, self.api.access.namespace, controller)
        carrying_out = asyncio.create_task(resources.work(drain)) if self.backend.settings.run_resources else None
        try:
            await controller.work(drain)
        finally:
            if carrying_out is not None:
                await carrying_out


@contextlib.contextmanager
def joined(settings: LaunchSettings, work_dir: str) -> Iterator[Cluster]:
    """The cluster of the settings. Raises InvalidInputError for a wrong setting, UnavailableError."""
    template = read_template(Path(settings.pod_template), work_dir)
    access = from_kubeconfig(Path(settings.kubeconfig)) if settings.kubeconfig else from_service_account()
    with KubernetesApi(access) as api, KubernetesApi(access, settings.lease_seconds / _CALLS_A_LEASE) as quick:
        cluster = Cluster(api, KubernetesBackend(api, chosen_kind(settings, api), settings, template))
        if settings.lease:
            pod = socket.gethostname()
            cluster.election = Election(
                api=quick,
                namespace=access.namespace,
                lease=settings.lease,
                identity=f"{pod}_{uuid.uuid4()}",  # pods on the host's network share its name
                seconds=settings.lease_seconds,
                lost=_end,
                pod=pod if settings.label_leader else "",
            )
        yield cluster


def _end() -> None:
    """Another trainer leads: nothing may be written any more, not even in parting."""
    os._exit(1)
