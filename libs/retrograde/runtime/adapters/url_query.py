"""The parameters behind the `?` of a broker's or a store's URL."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import NoReturn


def read_parameters(query: str, known: Sequence[str], refuse: Callable[[str], NoReturn]) -> dict[str, str]:
    """Name -> value of `a=b&c=d`; calls `refuse` with the reason for one that is unknown, empty or there twice."""
    given: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        name, _, value = pair.partition("=")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            refuse(f"parameter {name!r} is unknown; {hint}")
        if not value or name in given:
            refuse(f"parameter {name} is {'given twice' if name in given else 'empty'}")
        given[name] = value
    return given
