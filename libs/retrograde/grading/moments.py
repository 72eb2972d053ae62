"""Dates and times of day: do two of them name the same moment?

    same_moment("3 p.m.", "15:00")                   True
    same_moment("March 5, 2021", "2021-03-05")       True
    same_moment("3:4", "3/4")                        None: neither is a time

The whole text must be read: a duration, a ratio or a sentence is no moment. What only the answer states is accepted
for the half of the day, the weekday and the year; what only the gold states is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_MAX_CHARS = 120
_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905
_HOURS = "one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
_MONTH = (
    rf"(?P<month>(?i:{'|'.join(_MONTHS)})|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
    r"|JAN|FEB|MAR|APR|JUN|JUL|AUG|SEPT?|OCT|NOV|DEC)\b\.?)"
)
_DAY = r"(?P<day>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[12]\d{3})"
_HALF = r"(?P<half>[ap])\.?\s?m\b\.?|in the (?P<part>morning|afternoon|evening)|at (?P<night>night)"
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_MONTH} (?:the )?{_DAY}(?:(?: ?, ?| of | ){_YEAR})?(?![\d:])",
        rf"(?:the )?{_DAY} (?:of )?{_MONTH}(?:(?: ?, ?| of | ){_YEAR})?(?![\d:])",
        rf"{_MONTH}(?: ?, ?| of | ){_YEAR}",
        rf"{_YEAR}[ ,]+{_MONTH}(?: {_DAY})?(?![\d:])",
        r"(?P<year>[12]\d{3})-(?P<month_number>\d{2})-(?P<day>\d{2})(?=\D|\Z)(?:T(?=\d))?",
        r"(?P<year>[12]\d{3})/(?P<month_number>\d{1,2})/(?P<day>\d{1,2})(?!\d)",
        r"(?P<one>\d{1,2})(?P<slash>[/.-])(?P<two>\d{1,2})(?P=slash)(?P<year>\d{4}|\d{2})(?!\d)",
        rf"{_MONTH}",
    )
)
_TIMES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<hour>[01]?\d|2[0-4])(?P<colon>:)(?P<minute>[0-5]\d)(?P<second>:[0-5]\d)?(?!\d)(?: ?(?:{_HALF}))?",
        rf"(?P<hour>[01]?\d)(?:\.(?P<minute>[0-5]\d))? ?(?:{_HALF})",
        rf"(?P<hour>[01]?\d|2[0-4]|{'|'.join(_HOURS)}) ?(?P<clock>o'?clock)(?: ?(?:{_HALF}))?",
        rf"(?P<hour>{'|'.join(_HOURS)}) ?(?:{_HALF})",
        rf"(?P<phrase>half past|(?:a )?quarter (?:past|to)) (?P<hour>[01]?\d|{'|'.join(_HOURS)})\b(?: ?(?:{_HALF}))?",
        r"(?:12(?::00)? )?(?P<named>noon|midday|midnight)",
        r"(?P<hour>[01]\d|2[0-3])(?P<minute>[0-5]\d) ?(?P<clock>hours|hrs)",
        r"(?P<hour>[01]?\d|2[0-3]) ?h ?(?P<minute>[0-5]\d)(?!\d)",
    )
)
_WEEKDAY = re.compile(
    r"(?P<weekday>(?i:monday|tuesday|wednesday|thursday|friday|saturday|sunday)|(?:Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun|MON|TUE|WED|THU|FRI|SAT|SUN)\b\.?)(?![A-Za-z])"
)
_FILLER = re.compile(r"\b(?:at|on|the|a|of|in|it|is|was|local|time|day|month|year)\b|[,;.()]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a text tells of a moment; None where it does not. `is_pm` is None where the half of the day is open."""

    year: int | None = None
    month: int | None = None
    day: int | None = None
    weekday: int | None = None
    hour: int | None = None
    minute: int = 0
    second: int = 0
    is_pm: bool | None = None
    could_be_ratio: bool = False


def same_moment(told: str, asked: str) -> bool | None:
    """Whether both name the same moment; None unless both are read as one and at least one is surely no ratio."""
    golds = read_moments(asked)
    answers = read_moments(told) if golds else []
    if not answers or (answers[0].could_be_ratio and golds[0].could_be_ratio):
        return None
    if len(answers) == len(golds) > 1:  # the same order of day and month is meant on both sides
        return any(_meets(answer, gold) for answer, gold in zip(answers, golds, strict=True))
    return any(_meets(answer, gold) for answer in answers for gold in golds)


def read_moments(text: str) -> list[Moment]:
    """What `text` can mean as a moment: one reading, two for "03/05/2021", none where it is something else."""
    plain = _plain(text)
    if not plain or len(text) > _MAX_CHARS:
        return []
    readings, rest = _dates(plain)
    weekday, rest = _taken((_WEEKDAY,), rest)
    time, rest = _taken(_TIMES, rest)
    if _FILLER.sub(" ", rest).strip() or not (readings or weekday or time):
        return []
    found = readings or [Moment()]
    if weekday:
        found = [replace(moment, weekday=_index(_DAYS, weekday["weekday"])) for moment in found]
    if time is None:
        return found
    clock = _clock(time, alone=plain == time.group())
    return (
        []
        if clock is None
        else [replace(clock, year=date.year, month=date.month, day=date.day, weekday=date.weekday) for date in found]
    )


def _plain(text: str) -> str:
    text = re.sub(r"\\(?:text\w*|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text[: _MAX_CHARS + 1])
    text = re.sub(r"\\!|[{}]", "", text.replace("\u202f", " ").replace("’", "'"))  # noqa: RUF001
    return " ".join(re.sub(r"\\[,;: ()\[\]]|\\q?quad|[~$*\"`]", " ", text).split())


def _taken(patterns: tuple[re.Pattern[str], ...], text: str) -> tuple[re.Match[str] | None, str]:
    """The first pattern found in `text`, and what is left of it."""
    for pattern in patterns:
        for match in pattern.finditer(text):
            before = text[match.start() - 1] if match.start() else " "
            after = text[match.end() : match.end() + 1]
            if (
                not before.isalnum()
                and before not in ":/.-"
                and not (after.isalnum() and match.group()[-1].isalnum() and match.group()[-1] != "T")
            ):
                return match, f"{text[: match.start()]} {text[match.end() :]}".strip()
    return None, text


def _dates(plain: str) -> tuple[list[Moment], str]:
    match, rest = _taken(_DATES, plain)
    if not match:
        return [], plain
    found = match.groupdict()
    year = int(found["year"]) if found.get("year") else None
    if found.get("one"):
        orders = ((found["one"], found["two"]), (found["two"], found["one"]))
        return [Moment(year, int(month), int(day)) for month, day in orders if _is_date(int(month), int(day))], rest
    month = int(found["month_number"]) if found.get("month_number") else _index(_MONTHS, found["month"])
    day = int(found["day"]) if found.get("day") else None
    return ([Moment(year, month, day)] if _is_date(month, day or 1) else []), rest


def _is_date(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= (30 if month in {4, 6, 9, 11} else 29 if month == 2 else 31)  # noqa: PLR2004 - the calendar


def _index(names: list[str], written: str) -> int:
    """1 for January, "Jan." and Monday."""
    return next(number for number, name in enumerate(names, 1) if name.startswith(written.lower().rstrip(".")))


def _clock(time: re.Match[str], *, alone: bool) -> Moment | None:
    """Hour (0..11 where the half of the day is told apart), minute, second and half of a time of day."""
    found = time.groupdict()
    if found.get("named"):
        return Moment(hour=0, is_pm=found["named"].lower() != "midnight")
    written = found["hour"].lower()
    hour = _HOURS.index(written) + 1 if written in _HOURS else int(written)
    minute = int(found.get("minute") or 0)
    phrase = (found.get("phrase") or "").lower()
    if phrase:
        minute = 30 if phrase.startswith("half") else 15 if phrase.endswith("past") else 45
        hour = (hour - 2) % 12 + 1 if minute == 45 else hour  # noqa: PLR2004 - quarter to
    is_pm = _half(found, hour)
    if (is_pm is not None and _told_half(found) and not 1 <= hour <= 12) or (hour == 24 and minute):  # noqa: PLR2004 - "15 a.m."
        return None
    second = int(found["second"][1:]) if found.get("second") else 0
    plain = bool(found.get("colon")) and not (_told_half(found) or found.get("clock") or found.get("second"))
    could_be_ratio = alone and plain and not written.startswith("0")
    return Moment(hour=hour % 12, minute=minute, second=second, is_pm=is_pm, could_be_ratio=could_be_ratio)


def _told_half(found: dict[str, str | None]) -> bool:
    return any(found.get(name) for name in ("half", "part", "night"))


def _half(found: dict[str, str | None], hour: int) -> bool | None:
    """Whether the time is after noon; None where neither its words nor its hour tell."""
    if found.get("half"):
        return (found["half"] or "").lower() == "p"
    if found.get("part"):
        return (found["part"] or "").lower() != "morning"
    if found.get("night"):
        return 5 <= hour <= 11  # noqa: PLR2004 - "at night" is either side of midnight
    return hour < 24 if hour > 12 else False if hour == 0 else None  # noqa: PLR2004 - the hours of a day


def _meets(told: Moment, asked: Moment) -> bool:
    """Whether the answer states all that the gold does, alike, and nothing beside it but weekday, year and half."""
    if asked.year is not None and (told.year is None or not _same_year(told.year, asked.year)):
        return False
    if asked.weekday is not None and told.weekday != asked.weekday:
        return False
    if (told.month, told.day, told.hour) != (asked.month, asked.day, asked.hour):
        return False
    halves = {told.is_pm, asked.is_pm} - {None}
    return len(halves) < 2 and (told.minute, told.second) == (asked.minute, asked.second)  # noqa: PLR2004 - am and pm


def _same_year(told: int, asked: int) -> bool:
    return told == asked or (min(told, asked) < 100 and told % 100 == asked % 100)  # noqa: PLR2004 - "21" for 2021
