"""What a dataset's lines may look like, and what is said of one that is wrong."""

from __future__ import annotations

import json

import pytest

from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.rows import Row, held_out, read_rows

TURN = {"role": "user", "content": "hi"}


def lines(*rows: object) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def test_the_four_formats_are_told_apart() -> None:
    """Text, messages, prompt and completion as text, and as messages; blank lines are passed over."""
    data = lines(
        {"text": "a"},
        {"messages": [TURN]},
        {"prompt": "a", "completion": "b", "kind": "search", "id": 3},
        {"prompt": [TURN], "completion": [{"role": "assistant", "content": None, "tool_calls": []}]},
    )

    rows = list(read_rows(b"\n" + data + b"\n\n", "data.jsonl"))

    assert [row.format for row in rows] == ["text", "messages", "strings", "turns"]
    assert [row.where for row in rows] == [f"data.jsonl: line {line}" for line in (2, 3, 4, 5)]


def test_a_line_separator_within_a_string_ends_no_line() -> None:
    """Text may hold the characters that end lines elsewhere, such as U+2028."""
    rows = list(read_rows('{"text": "a\u2028b"}'.encode(), "data.jsonl"))

    assert [row.text for row in rows] == ["a\u2028b"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{", "no JSON"),
        ("[]", "want a JSON object, not list"),
        ('{"prompt": "Q"}', "prompt and completion: want both"),
        (
            '{"prompt": "Q", "completion": [{"role": "assistant", "content": "A"}]}',
            "prompt and completion: want both, and both as",
        ),
        ('{"prompt": "Q", "completion": 3}', "completion: Input should be a valid"),
        ('{"messages": [{"role": "user", "content": "a"}, {"content": "b"}]}', r"messages\.1\.role: Field required"),
        ('{"messages": [{"role": "user", "content": 3}]}', r"messages\.0\.content: Input should be a valid"),
        ('{"text": "a", "prompt": "b", "completion": "c"}', "want either prompt and completion, or messages, or text"),
        ('{"answer": "a"}', "want either prompt and completion, or messages, or text"),
        ('{"prompt": "Q", "completion": "A", "segments": [{"kind": "step"}]}', r"segments\.0\.text: Field required"),
    ],
)
def test_a_malformed_line_is_named_with_its_field(bad: str, said: str) -> None:
    """The second line is wrong: the message says where, and what."""
    with pytest.raises(InvalidInputError, match=rf"^data\.jsonl: line 2: {said}"):
        list(read_rows(lines({"text": "fine"}) + b"\n" + bad.encode(), "data.jsonl"))


def numbered(count: int, per_problem: int) -> list[Row]:
    return [Row(line=i, text=str(i), problem_id=f"p{i // per_problem}") for i in range(count)]


def test_a_problem_is_held_out_with_all_its_solutions() -> None:
    """A quarter of eight problems are two; none has solutions on both sides, and none is lost."""
    kept, apart = held_out(numbered(24, 3), 0.25, seed=1)

    assert len({row.problem_id for row in apart}) == 2
    assert not {row.problem_id for row in kept} & {row.problem_id for row in apart}
    assert sorted(row.line for row in [*kept, *apart]) == list(range(24))


def test_what_is_held_out_follows_from_the_seed_and_not_from_the_order() -> None:
    """Lines in reverse hold out the same problems; another seed others."""
    rows = numbered(40, 2)
    chosen = [{row.problem_id for row in held_out(*each)[1]} for each in ((rows, 0.2, 1), (rows[::-1], 0.2, 1))]

    assert chosen[0] == chosen[1]
    assert {row.problem_id for row in held_out(rows, 0.2, 2)[1]} != chosen[0]


def test_lines_without_a_problem_are_held_out_one_by_one() -> None:
    """A tenth of twenty lines are two; a share of nothing is none."""
    rows = [Row(line=i, text="a") for i in range(20)]

    assert [len(side) for side in held_out(rows, 0.1, seed=1)] == [18, 2]
    assert held_out(rows, 0.0, seed=1) == (rows, [])
