r"""Functions told piece by piece in a sentence, as a `cases` environment: "x^2 if x < 0, and 2x otherwise"."""

from __future__ import annotations

import re

_HEAD = re.compile(r"\A((?:[a-zA-Z]\s*\([a-z]\)|y)\s*=)(?!\s*\\opencases)")
_BREAK = re.compile(r"\s*[;,](?: (?:and|but))?\s+|\s+(?:and|but)\s+")
_OPEN, _CLOSE = r"\s*(?:\\text\s*\{\s*)?\b", r"\b\s*\}?"
_ROW = re.compile(rf"(?P<value>.+?),?{_OPEN}(?:if|for|when|where){_CLOSE}(?P<condition>.+)")
_ELSE = re.compile(rf"(?P<value>.+?),?{_OPEN}(?:otherwise|elsewhere|else){_CLOSE}")
_DIVIDES = re.compile(r"[<>]|\\(?:le|ge|ne|in)(?![a-z])|\b(?:even|odd)\b")  # says where a piece is meant


def as_cases(text: str) -> str:
    """`text` with its pieces as rows of cases, where it is two pieces or more and nothing else; otherwise as it is."""
    head = _HEAD.match(text)
    body = text[head.end() :] if head else text
    rows = [_row(piece) for piece in _BREAK.split(body.strip())]
    told = [row for row in rows if row is not None]
    if len(told) < len(rows) or len(rows) == 1:
        return text
    pieces = " \\newrow ".join(told)
    return f"{head[1] if head else ''} \\opencases {pieces} \\closecases "


def _row(piece: str) -> str | None:
    other = _ELSE.fullmatch(piece)
    if other:
        return f"{other['value']} & \\text{{otherwise}}"
    row = _ROW.fullmatch(piece)
    if row is None or re.search(r"[=<>]|\\[lg]e", row["value"]) or not _DIVIDES.search(row["condition"]):
        return None
    return f"{row['value']} & {row['condition']}"
