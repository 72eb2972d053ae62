"""When two dates or times of day are the same moment."""

from __future__ import annotations

import time

import pytest

from retrograde.grading.moments import same_moment

SAME = [
    ("3:00 PM", "3 p.m."), ("3:00 PM", "15:00"), ("3:00 in the afternoon", "15:00"), ("3:00", "3:00 PM"),
    ("3:00 PM", "3:00"), ("3 p.m.", "3:00"), ("March 5, 2021", "5 March 2021"), ("2021-03-05", "March 5th, 2021"),
    ("03/05/2021", "March 5, 2021"), ("03/05/2021", "May 3, 2021"), ("Mon", "Monday"), ("Sept.", "September"),
    ("12:00 AM", "midnight"), ("noon", "12 PM"), ("half past three", "3:30 p.m."), ("quarter to four", "3:45 PM"),
    ("Monday, March 5", "March 5"), ("3 o'clock", "3:00"), ("three o'clock", "3 PM"),
    ("\\text{3:00 p.m.}", "3\\!:\\!00\\text{ PM}"), ("May 5", "5 May"), ("3:00:00 PM", "3 PM"),
    ("at 3:00 p.m.", "3:00"), ("1500 hours", "3 pm"), ("3:15 p.m", "3:15 p.m."), ("10:05", "10:05 AM"),
    ("on a Tuesday", "Tuesday"), ("tuesday", "Tuesday"), ("the 5th of March", "March 5"),
    ("$3:30$ \\text{PM}", "3:30 p.m."), ("5 March, 2021", "3/5/21"), ("8:00 in the evening", "20:00"),
    ("00:00", "midnight"), ("08:05", "8:05 a.m."), ("December 25", "25th December"), ("3.30 pm", "3:30 PM"),
    ("2024-02-29", "29 February 2024"), ("Jan 2020", "January, 2020"),
]  # fmt: skip

DIFFERENT = [
    ("3:00 AM", "3:00 PM"), ("3:00 PM", "3:30 PM"), ("15:00", "3:00 AM"), ("March 5", "March 6"),
    ("March 5", "May 5"), ("March", "March 5"), ("Friday", "Sunday"), ("March 5, 2021", "March 5, 2022"),
    ("March 5", "March 5, 2021"), ("Tuesday", "Tuesday, 3 pm"), ("Tuesday, 3 pm", "Tuesday"), ("June", "July"),
    ("03/05/2021", "March 6, 2021"), ("03/05/2021", "05/03/2021"), ("noon", "midnight"), ("12 AM", "12 PM"),
    ("3:00:30 PM", "3:00 PM"), ("2021-03-05", "2021-05-03"), ("half past three", "half past four"),
    ("15:00", "3 a.m."), ("March 2021", "March 2020"), ("Monday", "Monday 3 PM"),
]  # fmt: skip

NO_MOMENTS = [
    ("3:4", "3:04"), ("3:00", "6:00"), ("15:30", "3:30"), ("2021", "2021"), ("5", "3:00"), ("7 hours", "7:00 AM"),
    ("sun", "Sunday"), ("2020-02-30", "March 1, 2020"), ("3/5", "3/5"), ("Monday or Tuesday", "Monday"),
    ("not Monday", "Monday"), ("3:00 PM or 4:00 PM", "3:00 PM"), ("3:75", "3:75 PM"), ("25:00", "1:00 AM"),
    ("15:00 AM", "15:00"), ("March 32", "March 3"), ("a", "a"), ("", "Monday"), ("2:3:4", "2:03:04"),
    ("3 PM to 4 PM", "3 PM"), ("March and April", "March"), ("before 3 PM", "3 PM"), ("Monday Tuesday", "Monday"),
    ("1/2/3", "1/2/3"), ("12", "noon"), ("second", "Monday"), ("may be", "May"), ("1-2-2003", "-2004"),
    ("3:05:07", "3:5:7"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "asked"), SAME)
def test_a_moment_is_right_in_whatever_form(told: str, asked: str) -> None:
    """Clocks of 12 and 24 hours, words, orders of day and month; the half of the day may be told by one side only."""
    assert same_moment(told, asked) is True


@pytest.mark.parametrize(("told", "asked"), DIFFERENT)
def test_another_moment_is_wrong(told: str, asked: str) -> None:
    """Another half, minute, day, month or year is wrong, and so is an answer without what the gold states."""
    assert same_moment(told, asked) is False


@pytest.mark.parametrize(("told", "asked"), NO_MOMENTS)
def test_what_is_no_single_moment_is_left_to_others(told: str, asked: str) -> None:
    """Ratios, durations, fractions, impossible dates, ranges, choices and negations are not read as moments."""
    assert same_moment(told, asked) is None


@pytest.mark.parametrize("piece", ["3:00 ", "March ", "1/", "Monday ", "the ", " ", "at", "{"])
def test_hostile_moments_are_refused_by_their_length(piece: str) -> None:
    """Two megabytes of any piece are no moment, at once."""
    began = time.process_time()
    assert same_moment(piece * (2_000_000 // len(piece)), "3:00 PM") is None
    assert time.process_time() - began < 5
