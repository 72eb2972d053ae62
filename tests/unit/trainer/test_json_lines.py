"""Stages hand each other JSON lines."""

from __future__ import annotations

from retrograde.core.problem import Problem
from services.trainer.stages.stage import json_lines, problems_from_bytes, problems_to_bytes, read_json_lines


def test_any_character_may_stand_in_a_row() -> None:
    """Also those that end a line elsewhere: rows are cut at a line feed alone."""
    problem = Problem("p", "countdown", "one\u2028two\u2029three\x85four\nfive", "28")

    assert problems_from_bytes(problems_to_bytes([problem, problem])) == [problem, problem]
    assert read_json_lines(json_lines([{"text": problem.statement}])) == [{"text": problem.statement}]
    assert read_json_lines(b"") == []
