"""What is in each image. The Dockerfiles under services/ make the same ones; a test compares them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PYTHON_PACKAGES = "opt/retrograde/python"
MOUNTED = "opt/retrograde/environment"
"""Where a pod of a `mounted` image finds torch and its like, from its node."""
CONFIG = "/etc/retrograde/config.yaml"
USER = "10001:10001"

SYSTEM = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "dash", "base-files")
TOOLCHAIN = (*SYSTEM, "g++", "openssl", "libpython3-dev", "libnuma1", "libgomp1", "libc-bin", "coreutils", "util-linux")
"""Torch and DeepSpeed compile operators where they run: torch asks openssl for checksums, vLLM lscpu about cores."""


@dataclass(frozen=True, slots=True)
class Image:
    """`requirements` are installed, unless `is_mounted`: then the node has them."""

    name: str
    services: tuple[str, ...]
    command: tuple[str, ...]
    requirements: tuple[str, ...] = ("services",)
    system: tuple[str, ...] = SYSTEM
    models: tuple[str, ...] = ()
    is_mounted: bool = False
    arguments: tuple[str, ...] = ("--config", CONFIG)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The part of an OCI image's configuration that says how it runs."""
        environment = _ENVIRONMENT | self.environment
        if self.is_mounted:
            environment["PYTHONPATH"] += f":/{MOUNTED}"
        return {
            "User": USER,
            "Env": [f"{key}={value}" for key, value in sorted(environment.items())],
            "Entrypoint": list(self.command),
            "Cmd": list(self.arguments),
            "WorkingDir": "/app",
            "Labels": {
                "org.opencontainers.image.title": f"retrograde/{self.name}",
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        }


_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONPATH": f"/app/libs:/app:/{PYTHON_PACKAGES}",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "SSL_CERT_FILE": f"/{PYTHON_PACKAGES}/certifi/cacert.pem",
}
_SCRATCH = {"HOME": "/tmp", "XDG_CACHE_HOME": "/tmp/cache"}  # noqa: S108 - the pod's own, the root is read-only


def _service(name: str, **more: Any) -> Image:
    return Image(name, (name,), ("python", "-m", f"services.{name}"), **more)


IMAGES = {
    image.name: image
    for image in (
        _service("search"),
        _service("verifier", requirements=("services", "verifier")),
        _service("rewriter"),
        _service("rollouts"),
        _service("trainer", requirements=("services", "trainer"), models=("countdown-base",)),
        _service(
            "inference",
            requirements=("services", "inference"),
            system=TOOLCHAIN,
            models=("countdown-base",),
            is_mounted=True,
            environment=_SCRATCH,
        ),
        Image(
            "job",
            ("trainer",),
            ("python", "-m"),
            requirements=("services", "job"),
            system=TOOLCHAIN,
            models=("countdown-base",),
            is_mounted=True,
            arguments=("services.trainer.job.sft", "--help"),
            environment=_SCRATCH,
        ),
    )
}
