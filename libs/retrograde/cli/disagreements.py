"""`retrograde verify --disagreements`: what the verifier's shadow has kept for review."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import InvalidInputError
from retrograde.wire.disagreement import Disagreement, Opinion, read_disagreements

_SCHEME = "file://"
_SHOWN_CHARS = 300


def kept(place: str) -> list[Disagreement]:
    """What is kept at a store's URL or in its directory. Raises InvalidInputError when there is no such place."""
    if "://" not in place or place.startswith(_SCHEME):
        folder = Path(place.removeprefix(_SCHEME)).expanduser().absolute()
        if not folder.is_dir():
            raise InvalidInputError(
                f"--disagreements: {place!r} is no directory; name the `shadow_store` of a verifier's settings"
            )
        place = f"{_SCHEME}{folder}"
    return list(read_disagreements(open_store(place)))


def list_disagreements(place: str, console: Console, *, as_json: bool) -> None:
    """Prints them, as a table or as lines of JSON."""
    found = kept(place)
    if as_json:
        for each in found:
            typer.echo(json.dumps(dataclasses.asdict(each), ensure_ascii=False))
    else:
        console.print(view(found))


def view(found: Sequence[Disagreement]) -> Table:
    """A table for people; long texts are cut at their beginning, for an answer stands at its end."""
    table = Table(title=f"disagreements: {len(found)}", show_lines=True)
    for heading in ("question", "answer", "gold", "ours", "Math-Verify"):
        table.add_column(heading, overflow="fold")
    for each in found:
        cells = (_end(each.question), _end(each.answer), _end(each.gold), _said(each.ours), _said(each.theirs))
        table.add_row(*map(Text, cells))
    return table


def _end(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"...{text[-_SHOWN_CHARS:]}"


def _said(opinion: Opinion) -> str:
    return f"{opinion.verdict}\n{opinion.reason}"
