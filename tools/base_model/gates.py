"""What the base must be able to do before a search may use it, measured on held-out problems.

verdict    of the last steps it writes with right arithmetic, how many verdicts are right      (> 98 %)
restated   of the returns it makes when exploring, how many name a state really reached        (> 90 %)
legal      of its steps, how many follow from the state they are taken in                      (> 90 %)
pass@1     of its answers, how many are right; `returns` counts those it makes when answering  (about 0)
"""

from __future__ import annotations

from model import Decoder, sample
from words import EXPLORATION, SOLUTION, decode, encode

from retrograde.core.problem import Problem, Verdict
from retrograde.tasks.countdown import TASK, replay


def report(model: Decoder, sizes: list[int], count: int = 256) -> str:
    """One line per size of problem."""
    lines = []
    for size in sizes:
        problems = TASK.problems({"num_numbers": size, "count": count}, "validation", 0)
        answers = _texts(model, problems, SOLUTION, 64)
        explored = _texts(model, problems, EXPLORATION, 200)
        right = sum(TASK.grade(p, t).verdict is Verdict.CORRECT for p, t in zip(problems, answers, strict=True))
        returns = sum(TASK.returns(p, t)[0] for p, t in zip(problems, answers, strict=True))
        solved = sum(TASK.grade(p, t).verdict is Verdict.CORRECT for p, t in zip(problems, explored, strict=True))
        shares = [_shares(problems, texts) for texts in (answers, explored)]
        lines.append(
            f"{size} numbers: pass@1 {right / count:.3f} ({returns} returns); exploring {solved / count:.3f}; answering {shares[0]}; exploring {shares[1]}"
        )
    return "\n".join(lines)


def _texts(model: Decoder, problems: list[Problem], mode: str, max_tokens: int) -> list[str]:
    prompts = [encode(problem.statement[:-1] + mode) for problem in problems]
    return [decode(ids) for ids in sample(model, prompts, max_tokens)]


def _shares(problems: list[Problem], texts: list[str]) -> str:
    """Legal steps, right verdicts and valid returns among those told from a known state."""
    legal, steps, right, verdicts, valid, returns = 0, 0, 0, 0, 0, 0
    for problem, text in zip(problems, texts, strict=True):
        lines = TASK.split(text)
        for index, line in enumerate(lines):
            before = replay(problem, "".join(lines[:index]))
            now = replay(problem, "".join(lines[: index + 1]))
            if line.startswith("Let's"):
                returns += 1
                valid += now.num_valid_returns > before.num_valid_returns
            elif line.startswith(" ") and before.state is not None:
                wrong_verdict = now.grade.reason.startswith("the verdict")
                ended = ", the target is" in line
                steps += 1
                legal += now.state is not None or wrong_verdict or (ended and now.grade.answer != "")
                verdicts += ended and (now.grade.answer != "" or wrong_verdict)
                right += ended and now.grade.answer != ""
    return f"legal {legal}/{steps} verdict {right}/{verdicts} restated {valid}/{returns}"
