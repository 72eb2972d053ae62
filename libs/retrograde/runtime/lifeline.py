"""A child process that does not outlive its parent, however the parent ends."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Asks the kernel to send `number` to this process when its parent is gone; call it in the child (`preexec_fn`).

    Source: prctl(2). Elsewhere than on Linux it does nothing: there a killed parent leaves its children to be found
    by their files.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
