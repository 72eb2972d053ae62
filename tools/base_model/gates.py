"""What the base must be able to do before a search may use it, measured on held-out problems.

- verdict: of the last steps it writes with right arithmetic, how many verdicts are right (> 98 %)
- restated: of the returns it makes when exploring, how many name a state really reached (> 90 %)
- legal: of its steps, how many follow from the state they are taken in (> 90 %)
- pass@1: of its answers, how many are right; `returns` counts those it makes when answering (about 0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model import Decoder, sample
from words import EXPLORATION, SOLUTION, decode, encode

from retrograde.core.problem import Problem, Verdict
from retrograde.tasks.countdown import TARGET, TASK, Walk, replay


@dataclass(slots=True)
class Tally:
    """What was told and what of it was right."""

    solved: int = 0
    steps: int = 0
    legal: int = 0
    verdicts: int = 0
    right: int = 0
    returns: int = 0
    valid: int = 0

    def add(self, problem: Problem, text: str) -> None:
        """Counts one chain."""
        self.solved += TASK.grade(problem, text).verdict is Verdict.CORRECT
        lines = TASK.split(text)
        for index, line in enumerate(lines):
            self._line(line, replay(problem, "".join(lines[:index])), replay(problem, "".join(lines[: index + 1])))

    def _line(self, line: str, before: Walk, now: Walk) -> None:
        if now.num_returns > before.num_returns:
            self.returns += 1
            self.valid += now.num_valid_returns - before.num_valid_returns
        elif line.startswith(" ") and before.state is not None:
            judged = TARGET in line and (now.grade.answer != "" or now.grade.reason.startswith("the verdict"))
            self.steps += 1
            self.legal += judged or now.state is not None
            self.verdicts += judged
            self.right += judged and now.grade.answer != ""

    def __str__(self) -> str:
        told = f"legal {self.legal}/{self.steps}, verdict {self.right}/{self.verdicts}"
        return f"{told}, restated {self.valid}/{self.returns}"


def report(model: Decoder, sizes: Sequence[int], count: int = 256) -> str:
    """Two lines per size of problem: answering and exploring."""
    lines = []
    for size in sizes:
        problems = TASK.problems({"num_numbers": size, "count": count}, "validation", 0)
        for name, mode, max_tokens in (("answering", SOLUTION, 64), ("exploring", EXPLORATION, 256)):
            tally = Tally()
            prompts = [encode(problem.statement[:-1] + mode) for problem in problems]
            for problem, ids in zip(problems, sample(model, prompts, max_tokens), strict=True):
                tally.add(problem, decode(ids))
            lines.append(f"  {size} numbers, {name}: pass@1 {tally.solved / count:.3f}; {tally}")
    return "\n".join(lines)
