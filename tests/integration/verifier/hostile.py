"""A task whose "grading" does what its text names: what a verifier must survive."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from retrograde.core.problem import Grade, Problem, Verdict


class HostileTask:
    """Only `grade` is ever asked."""

    name = "tests.integration.verifier.hostile"

    def grade(self, problem: Problem, text: str) -> Grade:  # noqa: C901, PLR0912 - one line for each way to misbehave
        """Does `text`; an ordinary one is correct when it is the gold."""
        match text.split():
            case ["loop"]:
                while True:
                    pass
            case ["c-loop"]:
                return Grade(Verdict.INCORRECT, str(3 ** (10**9))[:9])  # one C call that asks for no signal
            case ["memory"]:
                return Grade(Verdict.INCORRECT, str(len(bytearray(1 << 36))))
            case ["hoard"]:
                hoard = []
                while True:
                    hoard.append(bytearray(1 << 24))
            case ["abort"]:
                os.kill(os.getpid(), signal.SIGABRT)
            case ["gmpy2"]:
                import gmpy2  # noqa: PLC0415 - where it is installed

                return Grade(Verdict.INCORRECT, str(gmpy2.mpz(7) ** (1 << 62))[:9])  # it ends the process by abort()
            case ["raise"]:
                raise RuntimeError("a fault of the task")
            case ["die-once", path]:
                if not Path(path).exists():
                    Path(path).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            case ["sleep", seconds]:
                time.sleep(float(seconds))
                return Grade(Verdict.CORRECT, "slept")
            case _:
                pass
        return Grade(Verdict.CORRECT if text == problem.gold else Verdict.INCORRECT, "compared", text)


TASK = HostileTask()
