r"""Boxes: `\boxed{}`, `\fbox{}`, `\framebox{}`, `\boxed 5`; nested, several, empty, unclosed and denied ones.

One pass with a stack of braces finds them; the answer is the last one, or the list that ends with it where nothing but
commas, "and", "or" and mathematical glue stands between ("x = \boxed{3} and y = \boxed{4}").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(
    r"(?:\\{1,2}|(?<![A-Za-z\\]))(?:boxed|fbox|framebox)\s*\{|\x08oxed\s*\{"  # \x08: "\b" read as an escape
    r"|\\{1,2}(?:boxed|fbox)\s*(?P<bare>-?\d+(?:[.,/]\d+)*|[A-Za-z](?![A-Za-z]))"
    r"|\\.|[{}]",
    re.DOTALL,
)
_GLUE = re.compile(
    r"(?:[\s$,;&()=]|\*\*|\\[()\[\],;:! \\]|\\(?:q?quad|lor|vee|land|wedge|approx)(?![A-Za-z])"
    r"|\\(?:text|textrm|mbox|mathrm)\{[\s,]*(?:and|or)?[\s,]*\}|\b(?:and|or|also|else|maybe|perhaps|possibly)\b|\b[A-Za-z](?:_\{?\w\}?)?(?=\s*=))*"
)
_DENIED = re.compile(
    r"(?:\bnot|n't|\brather than|\binstead of|\bnever)\s+(?:equal to\s+)?[$\\(\[\s*]*\Z", re.IGNORECASE
)
_REFUTED = re.compile(
    r"[$\\)\]\s*]*(?:\?|(?:is|was) (?:wrong|incorrect|false|not (?:right|correct|the)\b))", re.IGNORECASE
)
_MAX_GLUE_CHARS = 80


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box begins and ends in the text; `content` is None where it is never closed."""

    start: int
    end: int
    content: str | None


def boxes(text: str) -> list[Box]:
    """The outermost boxes in the order in which they begin; one that is never closed hides none of those inside."""
    braces: list[tuple[int, int, bool]] = []  # (where the mark begins, where the content begins, whether a box)
    found: list[Box] = []
    for match in _MARK.finditer(text):
        mark = match.group()
        if match["bare"] is not None:
            found.append(Box(match.start(), match.end(), match["bare"]))
        elif mark[-1] == "{" and mark != r"\{":
            braces.append((match.start(), match.end(), len(mark) > 1))
        elif mark == "}" and braces:
            start, content, is_box = braces.pop()
            if is_box:
                while found and found[-1].start > start:
                    found.pop()
                found.append(Box(start, match.end(), text[content : match.start()]))
    found += [Box(start, len(text), None) for start, _, is_box in braces if is_box]
    return sorted(found, key=lambda box: box.start)


def final_boxes(text: str, visible: str) -> tuple[str | None, str] | None:
    r"""(the answer in the last box or boxes, reason); None where `visible`, `text` without quotes, holds no box.

    The answer is None where the last box is empty, or never closed, or every box is denied.
    """
    found = boxes(visible)
    if not found:
        return None
    told = [box for box in found if not _is_denied(visible, box)]
    if not told:
        return None, "the box is denied"
    if _is_open(told, text):
        return None, "the box is never closed"
    answer = _joined([Box(box.start, box.end, _content(text, box)) for box in told], text)
    return (answer, "the last box") if answer else (None, "the box is empty")


def _is_denied(text: str, box: Box) -> bool:
    r"""Whether what stands right before or after the box takes it back or only asks: "not \boxed{3}", "\boxed{3}?"."""
    before, after = text[max(0, box.start - 40) : box.start], text[box.end : box.end + 40]
    return bool(_DENIED.search(before) or _REFUTED.match(after))


def _is_open(found: list[Box], text: str) -> bool:
    """Whether the last box, or one around it in its paragraph, is never closed."""
    paragraph = text.rfind("\n\n", 0, found[-1].start)
    return any(box.content is None and box.start > paragraph for box in found)


def _content(text: str, box: Box) -> str:
    """What the box holds in `text`, where quotation marks inside of it were not blanked."""
    inner = boxes(text[box.start : box.end])
    return ((inner[0].content if inner else box.content) or "").strip()


def _joined(found: list[Box], text: str) -> str:
    """The last box, with those before it that nothing but glue parts from it."""
    first = len(found) - 1
    parts = [found[first].content or ""]
    while first and parts[-1]:
        glue = _glue(text[found[first - 1].end : found[first].start])
        if glue is None or not found[first - 1].content:
            break
        first -= 1
        parts += [glue, found[first].content or ""]
    answer = "".join(reversed(parts))
    ends = text[max(0, found[first].start - 1) : found[first].start] + text[found[-1].end : found[-1].end + 1]
    return f"({answer})" if len(parts) > 1 and ends == "()" else answer


def _glue(between: str) -> str | None:
    """What joins two boxes in an answer; None where more than glue stands between them."""
    if len(between) > _MAX_GLUE_CHARS or "\n\n" in between or not _GLUE.fullmatch(between):
        return None
    if re.search(r"\bor\b|\\lor|\\vee", between):
        return " or "
    bare = re.sub(r"[\s$]|\\[()\[\]]", "", between)
    if "\n" in between and not bare:
        return None
    return " = " if bare in {"=", r"\approx"} else ", "
