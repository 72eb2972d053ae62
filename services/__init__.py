"""One package a service, started by `python -m services.NAME`."""

import os
import signal
from types import FrameType


def _leave(signum: int, _: FrameType | None) -> None:
    os._exit(128 + signum)


# The kernel passes a container's process 1 no signal that it does not handle, and services listen late in their start.
if os.getpid() == 1:
    signal.signal(signal.SIGTERM, _leave)
