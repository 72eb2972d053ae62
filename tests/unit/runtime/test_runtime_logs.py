"""Logs are JSON lines with context and fields."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from retrograde.runtime import logs

if TYPE_CHECKING:
    import pytest


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Event, level, service, logger, time and fields are keys; percent signs and newlines are kept."""
    logs.configure("search", "info")
    logs.get_logger("a.b").info("100% done\nhere", seconds=1.5, key="ü")
    (line,) = lines(capsys)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "level": "info",
        "service": "search",
        "logger": "a.b",
        "event": "100% done\nhere",
        "seconds": 1.5,
        "key": "ü",
    }


def test_numbers_json_does_not_have_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    """NaN, infinity and unknown objects are written as text, so that every line stays JSON."""
    logs.configure("search")
    logs.get_logger("x").info("step", loss=float("nan"), reward=float("-inf"), path=Path("/a"))
    text = capsys.readouterr().err
    line = json.loads(text, parse_constant=lambda constant: f"not JSON: {constant}")
    assert (line["loss"], line["reward"], line["path"]) == ("nan", "-inf", "/a")


def test_bound_fields_are_on_every_line_inside(capsys: pytest.CaptureFixture[str]) -> None:
    """bound() adds its fields, also to nested and library lines, and takes them away again."""
    logs.configure("search")
    log = logs.get_logger("x")
    with logs.bound(request_id="r1"):
        with logs.bound(topic="t"):
            logging.getLogger("library").warning("said %s", "so")
        log.info("inner")
    log.info("outer")
    kept = [{key: line.get(key) for key in ("event", "request_id", "topic")} for line in lines(capsys)]
    assert kept == [
        {"event": "said so", "request_id": "r1", "topic": "t"},
        {"event": "inner", "request_id": "r1", "topic": None},
        {"event": "outer", "request_id": None, "topic": None},
    ]


async def test_tasks_do_not_share_their_context(capsys: pytest.CaptureFixture[str]) -> None:
    """What one task binds is not on another's lines."""
    logs.configure("search")

    async def work(name: str) -> None:
        logs.bind(request_id=name)
        await asyncio.sleep(0)
        logs.get_logger("x").info(name)

    await asyncio.gather(work("one"), work("two"))
    assert [(line["event"], line["request_id"]) for line in lines(capsys)] == [("one", "one"), ("two", "two")]


def test_queries_of_requests_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """A URL that urllib3 names is written without its query; other loggers' question marks stand."""
    logs.configure("search", "debug")
    logging.getLogger("urllib3.connectionpool").debug('"%s %s %s" %s', "POST", "/?Token=a-token", "HTTP/1.1", 200)
    logging.getLogger("urllib3.util.retry").debug("Incremented Retry for (url='%s')", "/keys?Token=a-token")
    logs.get_logger("x").info("why?not")
    assert [line["event"] for line in lines(capsys)] == [
        '"POST /?... HTTP/1.1" 200',
        "Incremented Retry for (url='/keys?...')",
        "why?not",
    ]


def test_levels_below_the_set_one_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """At level warning, info is silent."""
    logs.configure("search", "warning")
    log = logs.get_logger("x")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_an_exception_carries_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """exception() adds the traceback in the same line."""
    logs.configure("search")
    try:
        int("what went wrong")
    except ValueError:
        logs.get_logger("x").exception("failed", attempt=2)
    (line,) = lines(capsys)
    assert (line["level"], line["attempt"]) == ("error", 2)
    assert "ValueError: invalid literal" in str(line["traceback"])


def test_configuring_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A second configure replaces the first."""
    logs.configure("one")
    logs.configure("two")
    logs.get_logger("x").info("once")
    assert [line["service"] for line in lines(capsys)] == ["two"]
