r"""Short word problems for a model too small to follow instructions: shown by examples, one calculation a line.

The `math` task with other prompts: a conversation of solved problems, spelt in ChatML (`<|im_start|>`, as SmolLM2 and
Qwen use it) and given as plain text, so that the model stops by itself after the boxed answer. A step is a line.
Options of `problems` are those of `math`.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrograde.core.problem import Problem
from retrograde.tasks.math import MathTask
from retrograde.tasks.task import Phrases, Task

_TURN = "<|im_start|>{role}\n{text}<|im_end|>\n"
_ANSWER = "<|im_start|>assistant\n"
_SYSTEM = "You solve word problems. Write one calculation per line, then the answer."
_SOLVED = (
    ("Amy has 31 beads and loses 4 of them. How many beads does she have left?", "31 - 4 = 27", 27),
    ("There are 9 rooms with 3 windows each. How many windows are there?", "9 * 3 = 27", 27),
    ("A cook shares 42 plums equally among 6 bowls. How many plums are in each bowl?", "42 / 6 = 7", 7),
    ("Joe sold 25 cups on Friday and 16 cups on Sunday. How many cups did he sell?", "25 + 16 = 41", 41),
    (
        "Sue has 2 boxes with 8 nails each and finds 5 more nails. How many nails does she have?",
        "2 * 8 = 16\n16 + 5 = 21",
        21,
    ),
)
_RETOLD = (
    ("31 - 4 = 27", "Next we take away and find that 31 - 4 = 27."),
    ("There are 9 * 3 = 27 windows", "Now we see that there are 9 * 3 = 27 windows."),
    ("The answer is \\boxed{41}.", "So the answer is \\boxed{41}."),
    ("42 / 6 = 7", "Then we share equally, and 42 / 6 = 7."),
)


def _turn(role: str, text: str) -> str:
    return _TURN.replace("{role}", role).replace("{text}", text)


def _conversation(system: str, turns: tuple[tuple[str, str], ...], question: str) -> str:
    """Solved turns, then the question, open at the assistant's answer."""
    solved = "".join(_turn("user", asked) + _turn("assistant", told) for asked, told in turns)
    return _turn("system", system) + solved + _turn("user", question) + _ANSWER


@dataclass(frozen=True, slots=True)
class WordProblems(MathTask):
    """The task."""

    name: str = "word_problems"
    stop: tuple[str, ...] = ("\n",)
    chat: bool = False
    phrases: Phrases = Phrases()  # noqa: RUF009 - frozen

    def prompt(self, problem: Problem) -> str:
        """Five solved problems, then this one."""
        solved = tuple((asked, f"{told}\nThe answer is \\boxed{{{answer}}}.") for asked, told, answer in _SOLVED)
        return _conversation(_SYSTEM, solved, problem.statement)

    def step_prompt(self, problem: Problem, so_far: str, step: str) -> str:  # noqa: ARG002 - too much for such a model
        """Four retold lines, then this one; the story and what came before only distract so small a model."""
        return _conversation("You say the line again in a full sentence.", _RETOLD, step.strip())

    def judge_prompt(self, problem: Problem, text: str) -> tuple[str, str]:
        """A right and a wrong solution judged, then this one."""
        example, told, answer = _SOLVED[0]
        right = f"{example}\n{told}\nThe answer is \\boxed{{{answer}}}."
        wrong = f"{_SOLVED[1][0]}\n9 + 3 = 12\nThe answer is \\boxed{{12}}."
        turns = ((right, "yes"), (wrong, "no"))
        return _conversation(
            "Is the solution right? Say yes or no.", turns, f"{problem.statement}\n{text.strip()}"
        ), "yes"


TASK: Task = WordProblems()
