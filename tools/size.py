"""Sizes of functions and files over libs/ and services/, against the budget of CONTRIBUTING.md.

Prints a line per figure, writes build/size.json, and ends with status 1 when the budget is broken.
"""

from __future__ import annotations

import ast
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUDGET = {
    "function_median_lines": 10,
    "function_p90_lines": 30,
    "function_max_lines": 60,
    "file_median_lines": 120,
    "file_max_lines": 350,
}
P90 = 0.9


def files() -> Iterator[Path]:
    """Our Python files, generated ones excepted."""
    for folder in ("libs", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "retrograde/v1" not in path.as_posix() and path.stat().st_size:
                yield path


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a file, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, its docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def arguments_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """Arguments that can be annotated."""
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return [argument for argument in arguments if argument.arg not in {"self", "cls"}]


def measure() -> dict[str, float]:
    """The figures."""
    found = [function for path in files() for function in functions(path)]
    lines = sorted(map(lines_of, found))
    file_lines = [path.read_text(encoding="utf-8").count("\n") for path in files()]
    arguments = [argument for function in found for argument in arguments_of(function)]
    return {
        "functions": len(lines),
        "function_median_lines": statistics.median(lines),
        "function_p90_lines": lines[int(P90 * len(lines))],
        "function_max_lines": lines[-1],
        "files": len(file_lines),
        "file_median_lines": statistics.median(file_lines),
        "file_max_lines": max(file_lines),
        "annotated_arguments_ratio": sum(argument.annotation is not None for argument in arguments) / len(arguments),
    }


def main() -> int:
    """Prints, writes, judges."""
    figures = measure()
    broken = [name for name, limit in BUDGET.items() if figures[name] > limit]
    if figures["annotated_arguments_ratio"] < 1:
        broken.append("annotated_arguments_ratio")
    for name, value in figures.items():
        print(f"{name:28} {value:8g}  {'over budget' if name in broken else ''}".rstrip())
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build/size.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
