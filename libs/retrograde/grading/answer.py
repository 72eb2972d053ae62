r"""The final answer in a completion.

Tried in this order: the last closed `\boxed{}` or `\fbox{}`, the last "the answer is ...", the text itself if it is one
line, the last line that is not blank. All scans are one pass: hostile text costs no more than its length.
"""

from __future__ import annotations

import re
from collections import deque

MAX_TEXT_CHARS = 200_000  # only the end of a longer completion is read
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_PHRASE = re.compile(r"\banswer\s*(?:is|:|=)\s*:?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?:\s|$)|\n")


def boxed(text: str) -> str | None:
    r"""Content of the last outermost closed `\boxed{...}`; None if there is none."""
    open_boxes: list[tuple[int, bool]] = []  # (where the content begins, whether a box opened it)
    found: str | None = None
    for match in _BRACES.finditer(text[-MAX_TEXT_CHARS:]):
        brace = match.group()
        if brace[-1] == "{" and brace != r"\{":
            open_boxes.append((match.end(), len(brace) > 1))
        elif brace == "}" and open_boxes:
            start, is_box = open_boxes.pop()
            if is_box:
                found = text[-MAX_TEXT_CHARS:][start : match.start()]
    return found


def extract_answer(text: str) -> str | None:
    """The final answer told in `text`, stripped; None where there is nothing to judge."""
    text = text[-MAX_TEXT_CHARS:]
    answer = boxed(text)
    if answer is None:
        answer = _phrased(text)
    if answer is None:
        answer = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return answer.strip() or None


def _phrased(text: str) -> str | None:
    """What follows the last "the answer is", up to the end of its sentence."""
    phrases = deque(_PHRASE.finditer(text), maxlen=1)
    if not phrases:
        return None
    told = text[phrases[0].end() :].lstrip()
    end = _SENTENCE_END.search(told)
    return told[: end.start()] if end else told
