"""Logs: one JSON object per line on stderr, through the standard library's logging.

    log = get_logger(__name__)
    log.info("tree finished", problem_id="p7", seconds=1.5)

writes {"time", "level", "service", "logger", "event", ...ids, ...context, ...fields}. Ids are those of `tracing`:
request_id, trace_id, span_id. Context is what `bound` put around the code that logs: the method of an RPC, the message
of a worker, its run and problem. Lines of libraries take the same shape; URLs in those of urllib3 lose their queries,
where a secret may stand.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from retrograde.runtime import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_context: ContextVar[Mapping[str, object]] = ContextVar("retrograde_log_context", default=MappingProxyType({}))
_FIELDS = "retrograde_fields"
_QUERY = re.compile(r"\?[^\s'\"]+")


class EventLogger:
    """A standard logger that takes fields as keywords."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        """Detail for someone who is looking for a fault."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Something happened as it should."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something went wrong and was dealt with."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something went wrong and somebody should look."""
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """An error, with the traceback of the exception being handled."""
        self._write(logging.ERROR, event, fields, traceback=True)

    def _write(self, level: int, event: str, fields: Mapping[str, object], *, traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=traceback, extra={_FIELDS: fields})


def get_logger(name: str) -> EventLogger:
    """The logger of module `name`."""
    return EventLogger(logging.getLogger(name))


@contextlib.contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Adds `fields` to every line logged inside, also by the tasks started there."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def bind(**fields: object) -> None:
    """Adds `fields` to every line of the current task from here on."""
    _context.set({**_context.get(), **fields})


class JsonLines(logging.Formatter):
    """Renders a record as one line of JSON."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds; values JSON does not know are written as their text."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": _event(record),
        }
        fields = {**tracing.ids(), **_context.get(), **getattr(record, _FIELDS, {})}
        line |= {name: _json_safe(value) for name, value in fields.items()}
        if record.exc_info and record.exc_info[0]:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _event(record: logging.LogRecord) -> str:
    message = record.getMessage()
    return _QUERY.sub("?...", message) if record.name.startswith("urllib3.") else message


def _json_safe(value: object) -> object:
    """JSON has no NaN and no infinity: they are written as their text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def configure(service: str, level: str = "info") -> None:
    """Sends every logger of the process to stderr as JSON lines; calling again replaces what the last call set up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each.formatter, JsonLines)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
