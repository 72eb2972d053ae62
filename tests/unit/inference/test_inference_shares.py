from __future__ import annotations

import contextlib

from services.inference.shares import EngineTime


def test_shares_add_up_to_the_time_worked() -> None:
    """Two requests of 1 and 3 sequences, overlapping for 8 of 14 seconds, are given 14 seconds between them."""
    now = 0.0
    meter = EngineTime(lambda: now)
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        one = first.enter_context(meter.share(1))
        now = 4.0
        three = second.enter_context(meter.share(3))
        now = 12.0
        first.close()
        now = 14.0
        second.close()
    assert (one.seconds, three.seconds) == (6.0, 8.0)
