"""A clock that is wrong, for this process alone: what it reads as the time of day is put ahead."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any


def put_ahead(seconds: float) -> None:
    """What `time.time`, `time.time_ns` and the clock of the signatures say from now on."""
    ahead, real, real_ns = dt.timedelta(seconds=seconds), time.time, time.time_ns

    class Wrong(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.now(tz) + ahead

    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + round(seconds * 1e9)
    from retrograde.runtime.adapters import s3_signer  # noqa: PLC0415 - it has the name already

    s3_signer.datetime = Wrong  # type: ignore[misc]
