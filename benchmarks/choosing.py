"""Which benches to run: `a,b` by name, or all."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from benchmarks.bench import Bench


class UnknownBenchError(ValueError):
    """A name that no bench has; the message lists those there are."""


def choose(only: str, benches: Sequence[Bench]) -> list[Bench]:
    """The benches named in `only` (comma-separated), in their own order; all for "". Raises UnknownBenchError."""
    names = [bench.name for bench in benches]
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise UnknownBenchError(f"ONLY: {name!r} is no bench{hint} There are: {', '.join(names)}")
    return [bench for bench in benches if not wanted or bench.name in wanted]
