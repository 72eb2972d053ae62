"""The grader's own source, read for what could evaluate text: imports, calls, attributes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ALLOWED_IMPORTS = frozenset(
    "__future__ bisect calendar collections contextlib dataclasses datetime decimal enum fractions functools heapq "  # noqa: SIM905
    "itertools math mpmath numbers operator random re retrograde string types typing unicodedata".split()
)
FORBIDDEN_CALLS = frozenset(
    "eval exec compile __import__ import_module sympify parse_expr parse_latex literal_eval lambdify nsimplify S "  # noqa: SIM905
    "loads load find_class system popen run Popen open breakpoint input globals locals vars setattr delattr "
    "attrgetter methodcaller get_type_hints __getattribute__ Template format_map mpmathify".split()
)
FORBIDDEN_ATTRIBUTES = frozenset(
    "__globals__ __subclasses__ __builtins__ __class__ __bases__ __base__ __mro__ __code__ __dict__ __reduce__ "  # noqa: SIM905
    "__getattribute__ modules".split()
)


def trees(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    """(file name, its syntax tree) for every module below `folder`."""
    for path in sorted(folder.rglob("*.py")):
        yield path.name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """The packages imported anywhere in `tree`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.ImportFrom(names=names):
                yield from (f".{alias.name}" for alias in names)


def forbidden(tree: ast.AST) -> Iterator[str]:
    """What `tree` names that could evaluate text; `re.compile` and formatting of a literal are none of it."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="compile", value=ast.Name(id="re"))):
                continue
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in FORBIDDEN_CALLS:
                yield f"{name}()"
            case ast.Call(func=ast.Attribute(attr="format", value=value)) if not isinstance(value, ast.Constant):
                yield "format() of a variable"
            case ast.Attribute(attr=name) if name in FORBIDDEN_ATTRIBUTES:
                yield name
            case ast.Name(id=name) if name in FORBIDDEN_CALLS - {"input", "run", "open", "load", "S"}:
                yield name
            case ast.FunctionDef() | ast.Lambda() if _looks_up_by_name(node):
                yield "getattr() while grading"


def _looks_up_by_name(function: ast.AST) -> bool:
    """Whether a function's body calls getattr: at import names are the package's own, in a call they may be text."""
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    return any(isinstance(call.func, ast.Name) and call.func.id in {"getattr", "hasattr"} for call in calls)
