"""Who besides the store is told the steps of training jobs. TensorBoard always is: its files lie beside the steps."""

from __future__ import annotations

import importlib.util

from pydantic import Field

from retrograde.core.settings import Settings
from retrograde.runtime.errors import InvalidInputError

_PACKAGES = {"wandb_project": "wandb", "mlflow_uri": "mlflow"}


class TrackingSettings(Settings):
    """Both packages take credentials from where they always do; neither is installed with the platform."""

    wandb_project: str = Field("", description="W&B project; empty: none.")
    mlflow_uri: str = Field("", description="MLflow tracking server or folder; empty: none.")


def require_installed(settings: TrackingSettings) -> None:
    """Raises InvalidInputError naming the package that a setting needs and this environment lacks."""
    for field, package in _PACKAGES.items():
        value = getattr(settings, field)
        if value and importlib.util.find_spec(package) is None:
            raise InvalidInputError(
                f"tracking.{field}: {value!r} needs the package {package}, which is not installed; "
                f"`pip install {package}`, or leave the setting out"
            )
