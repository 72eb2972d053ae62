r"""Countdown: combine all numbers, each once, by + - * / into a target; one operation a line.

    Numbers: 3 7 7, target: 28.         the statement
    Solution:                           the prompt ends here; the policy continues
     7 * 3 = 21, left: 7 21             a step: the operands leave the list, the result is appended
     21 + 7 = 28, the target is 28: yes, the answer is \boxed{28}.
     21 - 7 = 14, the target is 28: no.                              or so; then a doubt and a return may follow:
    Let's go back to where we had 7 21.

A completion is judged by replaying it in exact integer arithmetic. A step that is not legal breaks its branch until
a return to a state that was really reached before; the answer counts if the branch it ends is legal and right.

Options of `problems` (all optional): `num_numbers` (3..6, or a list to draw from), `count`, `max_number` (numbers are
1..max_number), `target` ([lowest, highest]). Every problem is solvable, and belongs to exactly one split by a hash of
its numbers and target whatever their order, so that no two splits ever share one.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.tasks.arithmetic import ExpressionError, parse_expression
from retrograde.tasks.task import Phrases, Task, TaskError

MAX_VALUE = 255
"""Largest intermediate result in a problem's known solution, and largest number the shipped model has a token for."""

SPLITS: Mapping[str, range] = {
    "search": range(9),
    "rl": range(9, 15),
    "validation": range(15, 17),
    "evaluate": range(17, 20),
}
"""Twentieths of all problems that belong to each split."""

TARGET = ", the target is"
YES = ": yes, the answer is \\boxed{"
NO = ": no.\n"

_OPERATION = r" (\d{1,9}) ([-+*/]) (\d{1,9}) = (\d{1,9})"
_STEP = re.compile(_OPERATION + r", left:((?: \d{1,9}){2,})\n")
_FINAL = re.compile(_OPERATION + r", the target is (\d{1,9}): (?:no|yes, the answer is \\boxed\{(\d{1,9})\})\.\n?")
_RETURN = re.compile(
    r"Let's (?:go back to where we|restart our solution from the beginning, where we) had((?: \d{1,9})+)\.\n?"
)
_STATEMENT = re.compile(r"Numbers:((?: \d{1,9})+), target: (\d{1,9})\.")
_GOLD = re.compile(r"\s*((?:\d{1,9}[ ,]+)*\d{1,9})\s*->\s*(\d{1,9})\s*")

UNFINISHED = Grade(Verdict.UNPARSABLE, "no last step was told")

State = tuple[int, ...]
Operator = Literal["+", "-", "*", "/"]


def moves(state: State, max_value: int = MAX_VALUE) -> Iterator[tuple[int, Operator, int, int]]:
    """Every legal (a, operator, b, result) on `state` with a >= b and 1 <= result <= max_value, each once."""
    pairs = {(max(a, b), min(a, b)) for i, a in enumerate(state) for b in state[i + 1 :]}
    for a, b in sorted(pairs):
        for operator in ("+", "-", "*", "/"):
            result = operate(a, operator, b)
            if result is not None and 1 <= result <= max_value:
                yield a, operator, b, result


def operate(a: int, operator: str, b: int) -> int | None:
    """The exact result, or None where it is no natural number."""
    match operator:
        case "+":
            return a + b
        case "*":
            return a * b
        case "-":
            return a - b if a >= b else None
        case _:
            return a // b if b and a % b == 0 else None


def after(state: State, a: int, b: int, result: int) -> State | None:
    """The state once `a` and `b` have become `result`, which is appended; None if they are not in it."""
    left = list(state)
    for number in (a, b):
        if number not in left:
            return None
        left.remove(number)
    return (*left, result)


def step_text(a: int, operator: str, b: int, result: int, left: State, target: int) -> str:
    """The line for one operation; `left` is the state after it. The last one restates the target, then judges."""
    operation = f" {a} {operator} {b} = {result}"
    if len(left) > 1:
        return f"{operation}, left: {spell(left)}\n"
    verdict = f"{YES}{target}}}.\n" if result == target else NO
    return f"{operation}, the target is {target}{verdict}"


def spell(state: State) -> str:
    """The numbers, spaced."""
    return " ".join(map(str, state))


def statement(numbers: State, target: int) -> str:
    """What a problem says."""
    return f"Numbers: {spell(numbers)}, target: {target}."


@dataclass(slots=True)
class Walk:
    """A chain of thought while it is replayed; `state` is None on a broken branch, `reason` says what broke it."""

    start: State
    target: int
    state: State | None
    reached: set[State] = field(default_factory=set)
    num_returns: int = 0
    num_valid_returns: int = 0
    grade: Grade = UNFINISHED

    def tell(self, line: str) -> None:
        """Follows one line."""
        if match := _STEP.fullmatch(line):
            self._step(match)
        elif match := _FINAL.fullmatch(line):
            self._end(match)
        elif match := _RETURN.fullmatch(line):
            self._return(_numbers(match[1]))
        elif line not in (TASK.phrases.doubt, TASK.phrases.reassurance):
            self._break(Verdict.UNPARSABLE, f"not a line of this task: {line[:60]!r}")

    def _operation(self, match: re.Match[str]) -> State | None:
        a, b, result = int(match[1]), int(match[3]), int(match[4])
        if self.state is None or operate(a, match[2], b) != result:
            return None
        return after(self.state, a, b, result)

    def _step(self, match: re.Match[str]) -> None:
        left = self._operation(match)
        if left is None or left != _numbers(match[5]):
            self._break(Verdict.INCORRECT, f"not a legal step here: {match[0].strip()!r}")
            return
        self.state = left
        self.reached.add(left)

    def _end(self, match: re.Match[str]) -> None:
        left = self._operation(match)
        if left is None or len(left) != 1 or int(match[5]) != self.target:
            self._break(Verdict.INCORRECT, f"not a legal last step here: {match[0].strip()!r}")
            return
        self.state = None
        self.grade = self._judge(left[0], match[6])

    def _judge(self, value: int, boxed: str | None) -> Grade:
        if (value == self.target) != (boxed is not None) or (boxed is not None and int(boxed) != value):
            return Grade(Verdict.INCORRECT, f"the verdict on {value} is wrong: the target is {self.target}")
        if boxed is None:
            return Grade(Verdict.INCORRECT, f"reached {value}, the target is {self.target}", str(value))
        return Grade(Verdict.CORRECT, f"reached {value}", str(value))

    def _return(self, state: State) -> None:
        self.num_returns += 1
        if state not in self.reached:
            self._break(Verdict.INCORRECT, f"a return to {spell(state)!r}, which was never reached")
            return
        self.num_valid_returns += 1
        self.state = state

    def _break(self, verdict: Verdict, reason: str) -> None:
        if self.state is not None or self.grade.verdict is Verdict.CORRECT:
            self.grade = Grade(verdict, reason)
        self.state = None


def replay(problem: Problem, text: str) -> Walk:
    """`text` followed line by line from the problem's numbers. Raises TaskError if the problem is not ours."""
    start, target = read_statement(problem.statement)
    walk = Walk(start, target, start, {start})
    for line in text.splitlines(keepends=True):
        walk.tell(line)
    return walk


def read_statement(text: str) -> tuple[State, int]:
    """(numbers, target) of a statement. Raises TaskError."""
    match = _STATEMENT.fullmatch(text)
    if match is None:
        raise TaskError(f"statement: {text[:80]!r} is no Countdown problem; write 'Numbers: 3 7 7, target: 28.'")
    return _numbers(match[1]), int(match[2])


def grade_expression(answer: str, gold: str) -> Grade:
    """Judges an expression such as `3*7+7` against `3 7 7 -> 28`: right value, every number used once."""
    match = _GOLD.fullmatch(gold)
    if match is None:
        raise TaskError(f"gold: {gold[:80]!r} is no Countdown problem; write '3 7 7 -> 28'")
    try:
        expression = parse_expression(answer)
    except ExpressionError as error:
        return Grade(Verdict.UNPARSABLE, str(error))
    if sorted(expression.numbers) != sorted(_numbers(match[1].replace(",", " "))):
        return Grade(Verdict.INCORRECT, f"uses {spell(tuple(expression.numbers))}, given {match[1]}", answer.strip())
    if expression.value != int(match[2]):
        return Grade(Verdict.INCORRECT, f"is {expression.value}, the target is {match[2]}", answer.strip())
    return Grade(Verdict.CORRECT, f"is {match[2]}", answer.strip())


def _numbers(text: str) -> State:
    return tuple(map(int, text.split()))


@dataclass(frozen=True, slots=True)
class Options:
    """What `problems` may be told, checked."""

    num_numbers: tuple[int, ...] = (3,)
    count: int = 100
    max_number: int = 15
    target: tuple[int, int] = (10, 60)


def read_options(options: Mapping[str, object]) -> Options:
    """Raises TaskError that names the option, its value and what it should be."""
    defaults = Options()
    known = ("num_numbers", "count", "max_number", "target")
    for name in options:
        if name not in known:
            raise TaskError(f"options.{name}: unknown; countdown knows {', '.join(known)}")
    sizes = options.get("num_numbers", defaults.num_numbers)
    return Options(
        _integers("num_numbers", sizes if isinstance(sizes, list | tuple) else [sizes], 3, 6),
        _integers("count", [options.get("count", defaults.count)], 1, 1_000_000)[0],
        _integers("max_number", [options.get("max_number", defaults.max_number)], 2, MAX_VALUE)[0],
        _range(options.get("target", defaults.target)),
    )


def _integers(name: str, values: Sequence[object], lowest: int, highest: int) -> tuple[int, ...]:
    integers = tuple(value for value in values if type(value) is int and lowest <= value <= highest)
    if len(integers) != len(values) or not integers:
        raise TaskError(f"options.{name}: {values!r} must be whole numbers in {lowest}..{highest}")
    return integers


def _range(value: object) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004 - a pair
        raise TaskError(f"options.target: {value!r} must be [lowest, highest]")
    lowest, highest = _integers("target", value, 1, MAX_VALUE)
    if lowest > highest:
        raise TaskError(f"options.target: {value!r} must be [lowest, highest]")
    return lowest, highest


class Countdown:
    """The task; see the module's head for its language."""

    name = "countdown"
    stop: tuple[str, ...] = ("\n",)
    chat = False
    phrases = Phrases(restart="Let's restart our solution from the beginning, where we {recall}.\n")

    def problems(self, options: Mapping[str, object], split: str, seed: int) -> list[Problem]:
        """`count` distinct solvable problems of `split` (a key of SPLITS). Raises TaskError naming the bad option."""
        if split not in SPLITS:
            raise TaskError(f"split: {split!r} is unknown; use one of {', '.join(SPLITS)}")
        checked, rng = read_options(options), random.Random(f"countdown/{split}/{seed}")
        found: dict[str, Problem] = {}
        for _ in range(1000 + 400 * checked.count):
            if len(found) == checked.count:
                return list(found.values())
            if (problem := _draw(checked, SPLITS[split], rng)) is not None:
                found.setdefault(problem.id, problem)
        raise TaskError(
            f"options.count: only {len(found)} such problems found in {split!r}; lower it or widen the rest"
        )

    def prompt(self, problem: Problem) -> str:
        """The statement, then the line that asks for the solution."""
        return f"{problem.statement}\nSolution:\n"

    def split(self, text: str) -> list[str]:
        """Lines with their ends."""
        return text.splitlines(keepends=True)

    def is_terminal(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether the last line ends the solution, or is no step that can be taken."""
        return replay(problem, "".join(steps)).state is None

    def grade(self, problem: Problem, text: str) -> Grade:
        """Judges the last branch told; `answer` is the number reached, empty where the branch or verdict is wrong."""
        return replay(problem, text).grade

    def recall(self, problem: Problem, steps: Sequence[str]) -> str:
        """Names the numbers left after `steps`. Raises TaskError if those are not legal."""
        state = replay(problem, "".join(steps)).state
        if state is None:
            raise TaskError(f"steps: {list(steps)!r} lead to no state of {problem.id}")
        return f"had {spell(state)}"

    def returns(self, problem: Problem, text: str) -> tuple[int, int]:
        """(returns told, those that name numbers which were really left before)."""
        walk = replay(problem, text)
        return walk.num_returns, walk.num_valid_returns

    def verdict_start(self, step: str) -> int | None:
        """Where a last step restates the target; None on any other step."""
        return step.find(TARGET) if TARGET in step else None

    def step_prompt(self, problem: Problem, so_far: str, step: str) -> str:
        """Asks for the step again in the task's own words; Countdown's steps are already told in full."""
        return f"{self.prompt(problem)}{so_far}Say this step again: {step}"

    def judge_prompt(self, problem: Problem, text: str) -> tuple[str, str]:
        """The solution up to its verdict, and the verdict that means yes."""
        return self.prompt(problem) + verdict_cut(text)[0], YES


def verdict_cut(text: str) -> tuple[str, str]:
    """`text` cut before its last verdict: ("... = 14, the target is 28", ": no."); no verdict gives (text, "")."""
    cut = max(text.rfind(YES), text.rfind(NO.rstrip()))
    return (text, "") if cut < 0 else (text[:cut], text[cut:])


def _draw(options: Options, shares: range, rng: random.Random) -> Problem | None:
    numbers = tuple(rng.randint(1, options.max_number) for _ in range(rng.choice(options.num_numbers)))
    state: State | None = numbers
    while state is not None and len(state) > 1:
        choices = list(moves(state))
        a, _, b, result = rng.choice(choices)
        state = after(state, a, b, result)
    target = state[0] if state else 0
    if not options.target[0] <= target <= options.target[1] or share(numbers, target) not in shares:
        return None
    name = f"countdown-{'-'.join(map(str, sorted(numbers)))}-to-{target}"
    return Problem(name, "countdown", statement(numbers, target), str(target), "generated", str(len(numbers)))


def share(numbers: State, target: int) -> int:
    """Which twentieth of all problems this one is in, whatever the order of its numbers."""
    digest = hashlib.sha256(f"{sorted(numbers)}->{target}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 20


TASK: Task = Countdown()
