"""Forty answers made to hurt a grader, and forty good ones whose verdicts are known."""

from __future__ import annotations

from retrograde.core.problem import Problem, Verdict

MILLION = 1_000_000

FACTORIALS = ("1000000000!", "((9!)!)!", "3!!!!!!!!", "99999999999999999999!", "(10^9)!/(10^9-1)!")
POWERS = (
    "9^{9^{9^{9}}}",
    "7^{1234567890}",
    "2^{2^{2^{2^{2^{2}}}}}",
    "(-3)^{999999999}",
    "2^{-9999999999}",
    "1.0000001^{9999999999}",
    "(1/3)^{123456789}",
    "1e999999999",
)
BINOMIALS = (r"\binom{1000000000}{500000000}", r"\binom{10^{12}}{10^{11}}", r"{999999999 \choose 333333333}")
NESTED = (
    "(" * 100_000 + "1" + ")" * 100_000,
    r"\frac{1}{" * 5_000 + "2" + "}" * 5_000,
    r"\sqrt{" * 20_000 + "2" + "}" * 20_000,
    "-" * 100_000 + "1",
    "2^" * 3_000 + "2",
    "1+" * 200_000 + "1",
    "|" * 20_001,
)
LONG = (
    "1" * 2 * MILLION,
    r"\boxed{" * 300_000,
    r"\boxed{" + "9" * 2 * MILLION + "}",
    " " * 2 * MILLION + "4",
    "a " * MILLION,
    "1," * MILLION,
    "$" * 2 * MILLION,
)
TRAPS = (
    r"\boxed{" + "a" * 50_000 + "!",
    "the answer is " * 50_000,
    "1,000" * 50_000,
    "\n" * 500_000 + "x",
    "0." + "0" * MILLION + "1",
)
OVERFLOWS = (
    r"\sqrt{2}^{10^{18}}",
    r"\sin(10^{10^{8}})",
    r"\log(10^{10^{10}})",
    r"\pi^{\pi^{\pi^{\pi}}}",
    r"2^{2^{64}}\sqrt{3}",
)


def _told(text: str) -> str:
    """As a completion tells its answer."""
    return text if "boxed" in text or "answer is" in text else f"So it is \\boxed{{{text}}}."


BOMBS = [
    (Problem(f"bomb-{index}", "math", "", r"\sqrt{5}" if index % 2 else "5"), _told(text))
    for index, text in enumerate((*FACTORIALS, *POWERS, *BINOMIALS, *NESTED, *LONG, *TRAPS, *OVERFLOWS))
]
"""(problem, answer); none of the answers is right."""

_FORMS = (
    ("\\boxed{{{n}}}", "{n}", Verdict.CORRECT),
    ("So the answer is \\boxed{{{n}}}.", "{n}.0", Verdict.CORRECT),
    ("\\boxed{{{n}/4}}", "{quarter}", Verdict.CORRECT),
    ("\\boxed{{{n}}}", "1{n}", Verdict.INCORRECT),
    ("\\boxed{{\\frac{{{n}}}{{7}}}}", "{n}/8", Verdict.INCORRECT),
)
GOOD = [
    (
        (Problem(f"good-{n}-{number}", "math", "", gold.format(n=n, quarter=n / 4)), answer.format(n=n)),
        verdict,
    )
    for n in range(11, 19)
    for number, (answer, gold, verdict) in enumerate(_FORMS)
]
"""((problem, answer), verdict)."""
