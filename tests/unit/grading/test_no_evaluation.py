"""Model text is never evaluated: by the package's own source, and by what the interpreter does while grading."""

from __future__ import annotations

import ast
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from package_text import ALLOWED_IMPORTS, forbidden, imported, trees
from payloads import PAYLOADS

import retrograde.grading
from retrograde.core.problem import Verdict
from retrograde.grading import grade

FOLDER = Path(retrograde.grading.__file__).parent
WRAPPERS = ("{}", "\\boxed{{{}}}", "The answer is {}.", "1 + {}")
WARM_UP = (
    "17", "1/2", "\\sqrt{2}", "\\sin 1", "x^2+1", "\\{1,2\\}", "(1, 2]", "x = 3", "x < 3", "Tuesday", "5 cm", "50\\%",
    "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "e^{2}", "\\log_2 3", "10!", "A", "\\frac{1}{x}", "2 + 3i",
)  # fmt: skip


class Watch:
    """The interpreter's audit events of one thread while a call runs. A hook cannot be removed, so there is one."""

    def __init__(self) -> None:
        self._thread: int | None = None
        self._events: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: tuple[object, ...]) -> None:
        if threading.get_ident() == self._thread:
            self._events.append(event)

    def events_of(self, work: Callable[[], object]) -> list[str]:
        """What `work()` made the interpreter report: open, exec, compile, import, subprocess, socket, ..."""
        self._events = []
        self._thread = threading.get_ident()
        try:
            work()
        finally:
            self._thread = None
        return self._events


@pytest.fixture(scope="module")
def watch() -> Watch:
    """Warmed up: whatever grading imports late is imported."""
    for told in WARM_UP:
        for gold in WARM_UP:
            grade(told, gold)
    return Watch()


@pytest.mark.parametrize(
    ("work", "event"),
    [
        (lambda: eval("1"), "exec"),  # noqa: S307 - what the watch must see
        (lambda: compile("1", "a", "eval"), "compile"),
        (lambda: Path(os.devnull).open().close(), "open"),
        (lambda: __import__("this_module_is_missing"), "import"),
        (lambda: os.system("true"), "os.system"),  # noqa: S605 - likewise
        (lambda: os.putenv("A", "1"), "os.putenv"),
    ],
)
def test_the_watch_hears(watch: Watch, work: Callable[[], object], event: str) -> None:
    """Code that is evaluated, files, imports, shells and the environment are heard."""

    def suppressed() -> None:
        try:
            work()
        except ImportError:
            return

    assert event in watch.events_of(suppressed)


def test_there_are_enough_payloads() -> None:
    """At least fifty, no two alike."""
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 50


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_have_no_effect(payload: str, wrapper: str, tmp_path: Path, watch: Watch) -> None:
    """Neither as an answer, nor as a gold, nor as both does a payload make the interpreter report anything."""
    file = tmp_path / "touched"
    text = wrapper.format(payload.replace("FILE", str(file)))
    environment, modules = dict(os.environ), set(sys.modules)
    verdicts: list[Verdict] = []
    heard = watch.events_of(
        lambda: verdicts.extend(grade(*pair).verdict for pair in ((text, "17"), ("17", text), (text, text)))
    )
    assert heard == []
    assert verdicts[0] is not Verdict.CORRECT
    assert Verdict.ERROR not in verdicts
    assert not file.exists()
    assert (dict(os.environ), set(sys.modules)) == (environment, modules)


def test_the_package_imports_nothing_that_could_evaluate() -> None:
    """Only mathematics, text and data structures of the standard library, mpmath, and our own pure packages."""
    found = {name for _, tree in trees(FOLDER) for name in imported(tree)}
    assert found - ALLOWED_IMPORTS == set()


def test_the_package_names_nothing_that_evaluates() -> None:
    """No module of the grader calls or names what evaluates a string, looks a name up while grading, or walks types."""
    found = [f"{file}: {name}" for file, tree in trees(FOLDER) for name in forbidden(tree)]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "sympy.sympify(text)",
        "f = exec",
        "pickle.loads(text)",
        "text.format(answer)",
        "answer.__class__",
        "def look(name): return getattr(mpmath, name)",
        "look = lambda name: getattr(mpmath, name)",
    ],
)
def test_the_reading_of_the_source_finds(code: str) -> None:
    """Each of these would be found, or the test above would say nothing."""
    assert list(forbidden(ast.parse(code)))
