r"""The math task: problems from the common schemas, steps, answers, returns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from retrograde.core.problem import Problem, Verdict
from retrograde.tasks.math import SHARES, TASK, clause_of, position
from retrograde.tasks.task import TaskError, load_task

PROBLEM = Problem("p", "math", "5 rows of 4 eggs, 3 broken: how many are whole?", "17")
RIGHT = ["There are 5 * 4 = 20 eggs.\n\n", "So, 20 - 3 = 17.\n\n", "The answer is \\boxed{17}."]


def write(folder: Path, *rows: Mapping[str, object] | str) -> str:
    path = folder / "problems.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def read(file: str, **options: object) -> list[Problem]:
    return TASK.problems({"file": file, "share": [0, 1], **options}, "search", 0)


@pytest.mark.parametrize(
    ("row", "gold", "level", "source"),
    [
        (
            {"problem": "P", "answer": "\\frac12", "solution": "\\boxed{9}", "level": 5, "unique_id": "test/a/1.json"},
            "\\frac12", "5", "problems",
        ),
        ({"problem": "P", "solution": "So \\boxed{\\sqrt{2}}.", "source": "olympiads"}, "\\sqrt{2}", "", "olympiads"),
        ({"question": "P", "answer": "6 * 7 = 42.\n#### 42"}, "42", "", "problems"),
        ({"id": 61, "problem": "P", "solution": "...", "answer": 33}, "33", "", "problems"),
        ({"problem": "P", "answer": "It is \\boxed{7}"}, "7", "", "problems"),
        ({"problem": "P", "answer": 0}, "0", "", "problems"),
    ],
)  # fmt: skip
def test_common_schemas_are_read(tmp_path: Path, row: dict[str, object], gold: str, level: str, source: str) -> None:
    """MATH-500, NuminaMath, GSM8K and AIME rows give the statement, the gold, the level and the source."""
    (problem,) = read(write(tmp_path, row))
    assert (problem.statement, problem.gold, problem.level, problem.source) == ("P", gold, level, source)
    assert "/" not in problem.id


def test_parquet_gives_the_same_problems_as_jsonl(tmp_path: Path) -> None:
    """The same rows in parquet give the same problems."""
    rows = [{"problem": f"What is {n} + 1?", "answer": f"{n + 1}", "level": "1"} for n in range(20)]
    table = tmp_path / "problems.parquet"
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), table)
    assert read(str(table)) == read(write(tmp_path, *rows))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"problem": "a", "answer": "1"}'] * 16 + ["{oops"], "line 17: not JSON"),
        (
            ['{"prompt": "a", "answer": "1"}'],
            "line 1: no field 'problem' or 'question' \\(it has 'prompt', 'ans",
        ),
        (['{"problem": "a"}'], "line 1: no field 'answer' or 'solution'"),
        (['{"problem": "a", "solution": "so 3"}'], "line 1: field 'solution' ends in no"),
        (["[1, 2]"], "line 1: list, not an object"),
        ([], "no problems in it"),
        (
            ['{"id": "x", "problem": "a", "answer": "1"}', '{"id": "x", "problem": "b", "answer": "1"}'],
            "line 2: id 'x' is taken",
        ),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_fix(tmp_path: Path, lines: list[str], message: str) -> None:
    """What is wrong in a file is told with the option, the file, the line, the field and what to do."""
    file = write(tmp_path, *lines)
    with pytest.raises(TaskError, match=f"options.file: {file}: {message}"):
        read(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "options.file: None must be the path"),
        ({"file": "/nowhere/x.jsonl"}, "options.file: /nowhere/x.jsonl: no such file"),
        ({"file": __file__}, "unknown kind of file '.py'"),
        ({"file": "x", "limits": 3}, "options.limits: unknown; math knows file, share, limit, levels"),
        ({"file": "x", "limit": -1}, "options.limit: -1 must be a whole number"),
        ({"file": "x", "share": [0.5, 0.2]}, r"options.share: \[0.5, 0.2\] must be"),
        ({"file": "x", "levels": "5"}, "options.levels: '5' must be a list"),
    ],
)
def test_a_bad_option_is_named(options: Mapping[str, object], message: str) -> None:
    """An option that is unknown or wrong is refused before anything is read."""
    with pytest.raises(TaskError, match=message):
        TASK.problems(options, "search", 0)


def test_splits_of_one_file_are_disjoint_and_complete(tmp_path: Path) -> None:
    """By default every problem of a file is in exactly one split, whatever the seed and the file's order."""
    rows = [{"problem": f"What is {n} + {n}?", "answer": f"{2 * n}"} for n in range(300)]
    forward = {split: TASK.problems({"file": write(tmp_path, *rows)}, split, 1) for split in SHARES}
    backward = {split: TASK.problems({"file": write(tmp_path, *rows[::-1])}, split, 2) for split in SHARES}
    statements = [problem.statement for problems in forward.values() for problem in problems]
    assert sorted(statements) == sorted(row["problem"] for row in rows)
    for split, problems in forward.items():
        assert {problem.id for problem in problems} == {problem.id for problem in backward[split]}


def test_the_seed_draws_the_order(tmp_path: Path) -> None:
    """The same seed gives the same problems in the same order; another seed draws others under a limit."""
    file = write(tmp_path, *({"problem": f"{n}?", "answer": "1", "level": n % 2} for n in range(100)))
    draw = {"file": file, "share": [0, 1], "limit": 10}
    assert TASK.problems(draw, "search", 1) == TASK.problems(draw, "search", 1) != TASK.problems(draw, "search", 2)
    assert {problem.level for problem in TASK.problems(draw | {"levels": ["1"]}, "search", 1)} == {"1"}
    assert all(0 <= position(problem) < 1 for problem in TASK.problems(draw, "search", 1))


def test_repeated_statements_are_one_problem(tmp_path: Path) -> None:
    """A statement that stands twice in the file cannot be in two splits."""
    assert len(read(write(tmp_path, {"problem": "a", "answer": "1"}, {"problem": "a", "answer": "1"}))) == 1


def test_paragraphs_are_steps() -> None:
    """A completion is cut after each blank line; joined again it is the same text."""
    assert TASK.split("".join(RIGHT)) == RIGHT
    assert TASK.split("a\n\n\nb\n\n") == ["a\n\n", "\nb\n\n"]


@pytest.mark.parametrize(
    ("step", "terminal"),
    [("20 eggs.\n\n", False), ("So \\boxed{17}.\n\n", True), ("The answer is 17.\n\n", True), ("17, I stop", True)],
)
def test_what_ends_a_solution(step: str, *, terminal: bool) -> None:
    """A box, a told answer, or a paragraph in which the model stopped."""
    assert TASK.is_terminal(PROBLEM, [RIGHT[0], step]) is terminal


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("".join(RIGHT), Verdict.CORRECT),
        ("The answer is \\boxed{23}.\n\nLet's go back.\n\nThe answer is \\boxed{17}.", Verdict.CORRECT),
        ("The answer is 17 eggs.", Verdict.CORRECT),
        ("The answer is \\boxed{18}.", Verdict.INCORRECT),
        ("There are 17", Verdict.UNPARSABLE),
        ("", Verdict.UNPARSABLE),
    ],
)
def test_the_last_told_answer_is_judged(text: str, verdict: Verdict) -> None:
    """The last box or told answer counts; prose that ends without one is unparsable, whatever its last number."""
    assert TASK.grade(PROBLEM, text).verdict is verdict


@pytest.mark.parametrize(
    ("step", "clause"),
    [
        ("There are 5 * 4 = 20 eggs. Good.\n\n", "there are 5 * 4 = 20 eggs"),
        ("Step 2: So, we get x = 3.5 here.", "we get x = 3.5 here"),
        ("## Step 1: Mia has 7 apples\nMore.", "Mia has 7 apples"),
        ("3.5 + 2 = 5.5", "3.5 + 2 = 5.5"),
        ("  \n\n", ""),
    ],
)
def test_a_step_is_recalled_as_a_clause(step: str, clause: str) -> None:
    """Its first sentence, without numbering, connective and full stop."""
    assert clause_of(step) == clause


def test_returns_are_counted_and_checked() -> None:
    """A return names what an earlier paragraph found, or restarts; one that names anything else is not real."""
    back = TASK.phrases.go_back.format(recall=TASK.recall(PROBLEM, RIGHT[:1]))
    false = TASK.phrases.go_back.format(recall="found that pigs fly")
    text = "".join(RIGHT[:2]) + TASK.phrases.doubt + back + TASK.phrases.restart + false + RIGHT[2]
    assert back == "Let's go back to where we found that there are 5 * 4 = 20 eggs.\n\n"
    assert TASK.returns(PROBLEM, text) == (3, 2)
    assert TASK.returns(PROBLEM, back + "".join(RIGHT)) == (1, 0)
    assert TASK.returns(PROBLEM, "".join(RIGHT)) == (0, 0)


def test_a_step_that_says_nothing_cannot_be_recalled() -> None:
    """A return to it would name nothing, so the task refuses."""
    with pytest.raises(TaskError, match="says nothing to go back to"):
        TASK.recall(PROBLEM, ["\n\n"])


def test_prompts_keep_the_braces_of_the_problem() -> None:
    """Statement, step and solution stand in the prompts as they are, and the gold never does."""
    problem = Problem("p", "math", "What is \\frac{1}{2} of {problem}?", "gold-gold")
    prompts = [
        TASK.prompt(problem),
        TASK.step_prompt(problem, "So far {step}.", "Now \\boxed{1}."),
        *TASK.judge_prompt(problem, "I say {problem}."),
    ]
    assert all("gold-gold" not in prompt for prompt in prompts)
    assert problem.statement in prompts[0]
    assert "So far {step}." in prompts[1]
    assert "Step: Now \\boxed{1}.\nRewritten:" in prompts[1]
    assert "I say {problem}." in prompts[2]


def test_word_problems_are_the_same_task_in_lines() -> None:
    """The small model's task steps by lines and shows its examples in ChatML, open at the assistant's turn."""
    task = load_task("word_problems")
    assert task.split("5 * 4 = 20\nThe answer is \\boxed{20}.") == ["5 * 4 = 20\n", "The answer is \\boxed{20}."]
    assert task.prompt(PROBLEM).endswith(f"<|im_start|>user\n{PROBLEM.statement}<|im_end|>\n<|im_start|>assistant\n")
    back = task.phrases.go_back.format(recall=task.recall(PROBLEM, ["5 * 4 = 20\n"]))
    assert task.returns(PROBLEM, f"5 * 4 = 20\n{back}The answer is \\boxed{{20}}.") == (1, 1)


def test_the_shipped_word_problems_can_be_read() -> None:
    """The recipe's file has at least 60 problems with whole answers."""
    problems = read(str(Path(__file__).parents[3] / "recipes" / "data" / "word_problems.jsonl"))
    assert len(problems) >= 60
    assert all(problem.gold.isdigit() for problem in problems)
