"""The engine's time is shared out whole, and by sequences."""

from __future__ import annotations

import pytest

from services.inference.shares import EngineTime


class Clock:
    """Stands until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_request_alone_is_given_all_the_time_it_took() -> None:
    """Idle time before and after belongs to nobody."""
    clock = Clock()
    meter = EngineTime(clock)
    clock.now += 50
    with meter.share(4) as share:
        clock.now += 3
    clock.now += 50
    assert share.seconds == pytest.approx(3)


def test_requests_in_flight_together_share_by_their_sequences() -> None:
    """1 s alone, 4 s beside another, 2 s alone: the two shares add up to the 7 s in which the engine worked."""
    clock = Clock()
    meter = EngineTime(clock)
    with meter.share(6) as large:
        clock.now += 1
        with meter.share(2) as small:
            clock.now += 4
        clock.now += 2
    assert small.seconds == pytest.approx(1)
    assert large.seconds == pytest.approx(1 + 3 + 2)


def test_failed_request_keeps_no_place() -> None:
    """After an error the next request is alone again."""
    clock = Clock()
    meter = EngineTime(clock)
    with pytest.raises(ValueError, match="engine"), meter.share(2):
        raise ValueError("engine")
    with meter.share(1) as share:
        clock.now += 1
    assert share.seconds == pytest.approx(1)
