from __future__ import annotations

from services.inference.shares import EngineTime


def test_shares_add_up_to_the_time_worked() -> None:
    """Two requests of 1 and 3 sequences, overlapping for 4 of 10 seconds, are given 10 seconds between them."""
    now = 0.0
    meter = EngineTime(lambda: now)
    first, second = meter.share(1), meter.share(3)
    one = first.__enter__()
    now = 5.0
    three = second.__enter__()
    now = 9.0
    first.__exit__(None, None, None)
    now = 10.0
    second.__exit__(None, None, None)
    assert (one.seconds, three.seconds) == (6.0, 4.0)
