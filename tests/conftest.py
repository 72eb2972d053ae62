"""For all tests: tiers by what they need, and no time limit on generated examples.

Tests marked `engine` need vLLM and DeepSpeed. Where those are missing they are skipped with one line that says what to
install; with CI=true that is a failure.
"""

from __future__ import annotations

import importlib.util
import os

import pytest
from hypothesis import HealthCheck, settings

# Tests fork children beside running gRPC clients, and no fork uses gRPC; read by grpc at import.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

pytest_plugins = ["tests.servers", "tests.control_plane"]

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("house")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose tier's tools are missing, or fails it in CI."""
    if item.get_closest_marker("engine") is None:
        return
    missing = [name for name in ("vllm", "deepspeed") if importlib.util.find_spec(name) is None]
    if not missing:
        return
    message = f"{' and '.join(missing)} missing: run `make setup`"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
