"""A clock that is wrong: the time of day as this process's own modules and its clients of Kafka and S3 read it.

gRPC keeps the right one: its core asks the system, and half of a clock would make every deadline wrong.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
import types
from typing import Any

from retrograde.runtime.adapters import kafka_broker, s3_signer

_WRONG_IN = {"retrograde", "services", "kafka", "minio"}
assert kafka_broker  # it is loaded, and the clients with it


def put_ahead(seconds: float) -> None:
    """For the modules that are loaded now."""
    ahead = dt.timedelta(seconds=seconds)
    wrong = types.ModuleType("time")
    vars(wrong).update(vars(time))
    vars(wrong)["time"] = lambda: time.time() + seconds
    vars(wrong)["time_ns"] = lambda: time.time_ns() + round(seconds * 1e9)

    class WrongDatetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.now(tz) + ahead

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _WRONG_IN and vars(module).get("time") is time:
            vars(module)["time"] = wrong
    s3_signer.datetime = WrongDatetime  # type: ignore[misc]
