"""What a module of this repository imports, read from the sources: nothing is imported to find out."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OURS = ("retrograde", "services")
_MISSING = {"ImportError", "ModuleNotFoundError"}


def third_party(*modules: str) -> dict[str, str]:
    """Full names of what `modules` import from elsewhere, directly or not, each with a module of ours that does.

    Imports inside functions count; those for type checkers do not, nor those that may fail.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    ahead = list(modules)
    while ahead:
        module = ahead.pop()
        path = source_of(module)
        if path is None or module in seen:
            continue
        seen.add(module)
        for name in _imported(ast.parse(path.read_text(encoding="utf-8"))):
            if name.partition(".")[0] in OURS:
                ahead += [name, name.rpartition(".")[0]]
            elif name.partition(".")[0] not in sys.stdlib_module_names:
                found.setdefault(name, module)
    return found


def source_of(module: str) -> Path | None:
    """The file of a module of ours; None where there is none of that name."""
    for base in (ROOT / "libs", ROOT):
        path = base.joinpath(*module.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if module and candidate.is_file():
                return candidate
    return None


def _imported(node: ast.AST) -> Iterator[str]:
    for child in _needed(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
            yield child.module
        else:
            yield from _imported(child)


def _needed(node: ast.AST) -> list[ast.AST]:
    """The parts of `node` that run and have to succeed."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return list(node.orelse)
    if isinstance(node, ast.Try) and any(_is_missing(handler) for handler in node.handlers):
        return [*node.handlers, *node.orelse, *node.finalbody]
    return list(ast.iter_child_nodes(node))


def _is_missing(handler: ast.ExceptHandler) -> bool:
    return handler.type is not None and ast.unparse(handler.type) in _MISSING
