"""Countdown: the grammar is exact, a chain is judged by replay, splits never share a problem."""

from __future__ import annotations

import pytest

from retrograde.core.problem import Problem, Verdict
from retrograde.tasks.countdown import (
    SPLITS,
    TASK,
    after,
    grade_expression,
    moves,
    operate,
    read_statement,
    share,
    step_text,
)
from retrograde.tasks.task import TaskError

PROBLEM = Problem("p", "countdown", "Numbers: 3 7 7, target: 28.", "28")
FIRST = " 7 * 3 = 21, left: 7 21\n"
WRONG = " 21 - 7 = 14, the target is 28: no.\n"
RIGHT = " 21 + 7 = 28, the target is 28: yes, the answer is \\boxed{28}.\n"
DOUBT = TASK.phrases.doubt
BACK = "Let's go back to where we had 7 21.\n"
RESTART = "Let's restart our solution from the beginning, where we had 3 7 7.\n"


@pytest.mark.parametrize(
    ("text", "verdict", "answer"),
    [
        (FIRST + RIGHT, Verdict.CORRECT, "28"),
        (FIRST + RIGHT.rstrip("\n"), Verdict.CORRECT, "28"),
        (FIRST + WRONG, Verdict.INCORRECT, "14"),
        (FIRST + WRONG + DOUBT + BACK + RIGHT, Verdict.CORRECT, "28"),
        (FIRST + WRONG + DOUBT + RESTART + FIRST + RIGHT, Verdict.CORRECT, "28"),
        (FIRST + WRONG + DOUBT + BACK, Verdict.INCORRECT, "14"),
        (FIRST + RIGHT.replace("28: yes", "29: yes"), Verdict.INCORRECT, ""),
        (FIRST + " 21 + 7 = 28, the target is 28: no.\n", Verdict.INCORRECT, ""),
        (FIRST + " 21 - 7 = 14, the target is 28: yes, the answer is \\boxed{28}.\n", Verdict.INCORRECT, ""),
        (" 7 * 3 = 22, left: 7 22\n" + RIGHT, Verdict.INCORRECT, ""),
        (" 7 * 4 = 28, the target is 28: yes, the answer is \\boxed{28}.\n", Verdict.INCORRECT, ""),
        (FIRST, Verdict.UNPARSABLE, ""),
        ("The answer is \\boxed{28}.\n", Verdict.UNPARSABLE, ""),
        ("", Verdict.UNPARSABLE, ""),
    ],
)
def test_grade(text: str, verdict: Verdict, answer: str) -> None:
    """The last branch counts if it is legal, right, and says so; its number is the answer."""
    grade = TASK.grade(PROBLEM, text)
    assert (grade.verdict, grade.answer) == (verdict, answer)


def test_broken_branch_is_left_by_a_valid_return() -> None:
    """An illegal step spoils its branch alone: a return to a state that was reached goes on legally."""
    broken = FIRST + " 21 + 8 = 29, the target is 28: no.\n"
    assert TASK.grade(PROBLEM, broken).verdict is Verdict.INCORRECT
    assert TASK.grade(PROBLEM, broken + BACK + RIGHT).verdict is Verdict.CORRECT


def test_return_to_a_state_never_reached_is_invalid() -> None:
    """A return is told and not valid when it names numbers that were never left; what follows it does not count."""
    text = FIRST + WRONG + "Let's go back to where we had 3 14.\n"
    assert TASK.returns(PROBLEM, text) == (1, 0)
    assert TASK.grade(PROBLEM, text + " 14 * 3 = 42, the target is 28: no.\n").answer == "14"


def test_returns_are_counted() -> None:
    """Returns and restarts count alike, each once."""
    assert TASK.returns(PROBLEM, FIRST + WRONG + DOUBT + BACK + WRONG + DOUBT + RESTART + FIRST + RIGHT) == (2, 2)
    assert TASK.returns(PROBLEM, FIRST + RIGHT) == (0, 0)


def test_steps_end_where_the_walk_ends() -> None:
    """A last line or an impossible one is terminal, a legal step is not; joined steps are the text."""
    assert TASK.split(FIRST + RIGHT) == [FIRST, RIGHT]
    assert not TASK.is_terminal(PROBLEM, [FIRST])
    assert TASK.is_terminal(PROBLEM, [FIRST, WRONG])
    assert TASK.is_terminal(PROBLEM, [" 9 + 9 = 18, left: 3 18\n"])


def test_recall_names_the_numbers_left() -> None:
    """What a return says is the state after the steps."""
    assert TASK.phrases.go_back.format(recall=TASK.recall(PROBLEM, [FIRST])) == BACK
    assert TASK.phrases.restart.format(recall=TASK.recall(PROBLEM, [])) == RESTART
    with pytest.raises(TaskError, match="lead to no state"):
        TASK.recall(PROBLEM, ["nonsense\n"])


def test_judge_sees_all_but_the_verdict() -> None:
    """The self-evaluation prompt ends right before yes or no."""
    prompt, yes = TASK.judge_prompt(PROBLEM, FIRST + RIGHT)
    assert prompt == "Numbers: 3 7 7, target: 28.\nSolution:\n" + FIRST + " 21 + 7 = 28, the target is 28"
    assert RIGHT.endswith(yes + "28}.\n")


def test_verdict_is_where_the_target_is_restated() -> None:
    """The wrong part of a wrong last step ends before its verdict begins; other steps have none."""
    start = TASK.verdict_start(WRONG)
    assert WRONG[start:] == ", the target is 28: no.\n"
    assert TASK.verdict_start(FIRST) is None


def test_operations_are_exact_and_natural() -> None:
    """Only results that are natural numbers are legal."""
    assert [operate(7, op, 3) for op in "+-*/"] == [10, 4, 21, None]
    assert (operate(3, "-", 7), operate(3, "/", 0), operate(21, "/", 7)) == (None, None, 3)
    assert after((3, 7, 7), 7, 7, 49) == (3, 49)
    assert after((3, 7), 7, 7, 49) is None


def test_moves_take_each_pair_once() -> None:
    """Equal numbers give equal moves, told once, larger operand first."""
    assert list(moves((2, 2))) == [(2, "+", 2, 4), (2, "*", 2, 4), (2, "/", 2, 1)]


@pytest.mark.parametrize("size", [3, 4, 6])
def test_problems_are_solvable_and_stay_in_their_split(size: int) -> None:
    """Generated problems repeat under their seed, have the size asked for, and belong to one split only."""
    options = {"num_numbers": size, "count": 30}
    for name, shares in SPLITS.items():
        problems = TASK.problems(options, name, 3)
        assert problems == TASK.problems(options, name, 3)
        assert len({problem.id for problem in problems}) == 30
        for problem in problems:
            numbers, target = read_statement(problem.statement)
            assert len(numbers) == size
            assert share(numbers[::-1], target) in shares
            assert size > 4 or _solvable(numbers, target)
    assert sorted(part for shares in SPLITS.values() for part in shares) == list(range(20))


def _solvable(state: tuple[int, ...], target: int) -> bool:
    if len(state) == 1:
        return state[0] == target
    return any(_solvable(left, target) for a, _, b, c in moves(state) if (left := after(state, a, b, c)))


def test_told_steps_are_read_back() -> None:
    """What `step_text` writes, the grammar reads."""
    text = step_text(7, "*", 3, 21, (7, 21), 28) + step_text(21, "+", 7, 28, (28,), 28)
    assert text == FIRST + RIGHT
    assert step_text(21, "-", 7, 14, (14,), 28) == WRONG


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 3}, "options.size: unknown"),
        ({"num_numbers": 7}, "options.num_numbers"),
        ({"num_numbers": []}, "options.num_numbers"),
        ({"count": True}, "options.count"),
        ({"count": "many"}, "options.count: .*many"),
        ({"max_number": 0}, "options.max_number"),
        ({"target": [60, 10]}, "options.target"),
        ({"target": 28}, "options.target"),
        ({"count": 50, "max_number": 2}, "options.count: only"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    """An option that cannot be met is refused by name."""
    with pytest.raises(TaskError, match=message):
        TASK.problems(options, "search", 0)


def test_unknown_split_and_foreign_statement_are_refused() -> None:
    """Neither a split nor a statement is guessed."""
    with pytest.raises(TaskError, match="split: 'test' is unknown"):
        TASK.problems({}, "test", 0)
    with pytest.raises(TaskError, match="is no Countdown problem"):
        TASK.grade(Problem("q", "countdown", "What is 2 + 2?", "4"), FIRST)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("3*7+7", Verdict.CORRECT),
        ("7 + (7 * 3)", Verdict.CORRECT),
        ("7*(3+7/7)", Verdict.INCORRECT),
        ("7*3", Verdict.INCORRECT),
        ("3*7+8", Verdict.INCORRECT),
        ("7+7*3/1", Verdict.INCORRECT),
        ("3*(7+7", Verdict.UNPARSABLE),
        ("3**7", Verdict.UNPARSABLE),
        ("7/(7-7)", Verdict.UNPARSABLE),
        ("__import__('os').getpid()", Verdict.UNPARSABLE),
        ("(" * 100 + "3" + ")" * 100, Verdict.UNPARSABLE),
        ("1+" * 500 + "1", Verdict.UNPARSABLE),
        ("", Verdict.UNPARSABLE),
    ],
)
def test_expressions(answer: str, verdict: Verdict) -> None:
    """An expression is right if it has the target's value and uses each number once; no code is ever run."""
    assert grade_expression(answer, "3 7 7 -> 28").verdict is verdict


def test_expression_gold_is_checked() -> None:
    """A gold that is no Countdown problem is refused, commas are fine."""
    assert grade_expression("3*7+7", "3, 7, 7 -> 28").verdict is Verdict.CORRECT
    with pytest.raises(TaskError, match="gold"):
        grade_expression("1+1", "2")
