"""Model text is never evaluated: by the code's own text, and by payloads that would leave a trace."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import retrograde.grading
from retrograde.core.problem import Verdict
from retrograde.grading import grade

FORBIDDEN = {"eval", "exec", "compile", "sympify", "parse_expr", "parse_latex", "__import__", "literal_eval", "S"}
EXPRESSIONS = (
    "__import__('os').system('touch {file}')",
    "__import__('pathlib').Path('{file}').touch()",
    "open('{file}', 'w')",
    "exec(\"open('{file}','w')\")",
    "eval(\"open('{file}','w')\")",
    "().__class__.__bases__[0].__subclasses__()",
    "lambda: open('{file}','w')",
    "[open('{file}','w') for x in (1,)]",
    "Symbol('x').__class__.__init__.__globals__['os'].system('touch {file}')",
    "\\input{{{file}}}",
    "\\write18{{touch {file}}}",
    "$(touch {file})",
    "`touch {file}`",
    "; touch {file}",
    "17 if open('{file}','w') else 17",
    "globals()['__builtins__'].open('{file}','w')",
)
WRAPPERS = ("{}", "\\boxed{{{}}}", "The answer is {}.", "1 + {}")


def test_no_call_that_evaluates_text() -> None:
    """No module of the grader calls, imports or names anything that evaluates a string."""
    folder = Path(retrograde.grading.__file__).parent
    used = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case (
                    ast.Call(func=ast.Name(id=name))
                    | ast.Call(func=ast.Attribute(attr=name, value=ast.Name(id="sympy")))
                ):
                    used.add(name)
                case ast.ImportFrom(names=names) | ast.Import(names=names):
                    used |= {alias.name for alias in names}
    assert used & FORBIDDEN == set()


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_payloads_have_no_effect(expression: str, wrapper: str, tmp_path: Path) -> None:
    """Injected code touches no file, imports no module, and is never correct; as a gold it has no effect either."""
    file = tmp_path / "touched"
    payload = wrapper.format(expression.format(file=file))
    before = set(sys.modules)
    assert grade(payload, "17").verdict is not Verdict.CORRECT
    grade("17", payload)
    assert not file.exists()
    assert set(sys.modules) - before <= {"mpmath"} | {name for name in sys.modules if name.startswith("mpmath.")}
