"""Where training jobs run: `launch` of the trainer's settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from retrograde.core.settings import Settings


class LaunchSettings(Settings):
    """Everything but `backend` is for the cluster."""

    backend: Literal["local", "indexed", "jobset", "auto"] = Field(
        "local",
        description="local: child processes; indexed: Indexed Jobs; jobset: JobSets; auto: jobset where the API server "
        "knows it, else indexed.",
    )
    namespace: str = Field("", description="Namespace of the jobs; empty: the trainer's own.")
    kubeconfig: str = Field("", description="Path of a kubeconfig; empty: the pod's service account.")
    pod_template: str = Field("", description="YAML file with the PodTemplateSpec of job pods; container: train.")
    queue: str = Field("", description="Kueue LocalQueue; jobs wait, suspended, until it admits them. Empty: none.")
    ttl_seconds: int = Field(
        86_400,
        ge=60,
        description="How long a job that has ended is kept, with its logs; the trainer has to see its end.",
    )
    processes_per_pod: int = Field(1, ge=1, description="Ranks in one pod, at most; on GPU nodes the pod's GPUs.")
    rendezvous_port: int = Field(29_400, ge=1024, le=65_535, description="Port of the first pod where ranks meet.")
    end_seconds: float = Field(
        150.0, gt=0, description="Longest wait for the pods of a job that was deleted; then the call is made again."
    )
    lease: str = Field(
        "", description="Name of the Lease that makes one of several trainers the leader; empty: the only trainer."
    )
    lease_seconds: int = Field(
        15,
        ge=3,
        description="After so long without a sign of the leader another takes over; it gives up in two thirds.",
    )
    label_leader: bool = Field(
        default=False,
        description='Label the pod that leads retrograde.dev/leader: "true", for the Service of several trainers.',
    )
    run_resources: bool = Field(default=True, description="Carry out the Run resources of the namespace.")

    @model_validator(mode="after")
    def _complete(self) -> LaunchSettings:
        if self.backend != "local" and not self.pod_template:
            raise ValueError(f"pod_template: backend {self.backend} needs the path of a PodTemplateSpec in YAML")
        if self.backend == "local" and self.lease:
            raise ValueError("lease: backend local has no API server to ask; leave it out, or choose backend auto")
        return self
