r"""The final answer in a completion, as it is written there.

    find_answer(text) -> Found(answer, reason)

Thinking, special tokens and closing remarks are taken away; then the first of these that is there, outside quotations:

    1. the last box (boxes.py); an empty, denied or unclosed one means that there is no answer
    2. the last <answer>...</answer>
    3. what follows the last "the answer is", "Answer:", a heading "Final answer", or a last line "#### 42"
    4. what the only line, or the last line or display, concludes (sentence.py)

and only where nothing stands outside of quotations, the same in what is quoted. Every scan is one pass: hostile text
costs no more than its length.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from retrograde.grading.boxes import boxes, final_boxes
from retrograde.grading.quoting import is_remark, outside_blocks, outside_quotes, without_remarks, without_thinking
from retrograde.grading.sentence import clean, concludes, conclusion, sentence_at, sentences

MAX_TEXT_CHARS = 200_000  # only the end of a longer completion is read
_MAX_CUES = 20  # phrases looked at from the end, for one that tells more than "the answer is correct"
_TAG = re.compile(r"<answer>([^<]{0,5000}(?:<(?!/?answer>)[^<]{0,5000}){0,50})</answer>", re.IGNORECASE)
_JSON = re.compile(r'"(?:final_?)?answer"\s{0,9}:\s{0,9}("(?:[^"\\\n]|\\.){0,5000}"|[^,}\n]{0,5000})', re.IGNORECASE)
_CUE = re.compile(
    r"(?:(?<!what )(?<!whether )(?<!if )\b(?:the|my|our|your|final|correct|right|this|an)\s(?:\w{1,12}\s){0,2}"
    r"(?:answer|(?<=correct\s)option|(?<=correct\s)choice|(?<=final\s)result)s?|(?:^\W{0,9}|(?<=[.!?:;]\s)\W{0,3})(?:\w{1,9}\{)?ans(?:wer)?s?)\b"
    r"(?:\s?\([^()\n]{1,40}\))?"
    r"(?:[*_}\s]{0,4}(?:=>|->|[:=—→⇒])|(?:\s(?:to|for|of|in)\s[^.\n:=?!,]{1,60}?|,[^,.\n:=?!]{1,40},)?[\s*_]{1,3}"
    r"(?:is|are|was|(?:would|will|must|should|has\sto)\sbe|equals|(?:comes|works|turns)\sout\sto\sbe)\b)"
    r"[*_}]{0,3}[ \t]?(?:[:=]|therefore\b|thus\b|then\b|simply\b|that\b)?"
    r"|^[ \t#*_>\d.]{0,8}(?:the\s)?(?:final\s|correct\s)?(?:answers?|conclusion)[*_\s]{0,4}$",
    re.IGNORECASE | re.MULTILINE,
)
_CUE_END = re.compile(r"\A[ \t:}]*(?:(?:\*{1,3}|_{1,2})(?=[\s:]|\Z))?[ \t:}]*")
_DENIAL = re.compile(r"(?:n['’]t|\b(?:not|never|cannot|unlikely|false|wrong))\b[^,.;:!?\n]*\Z", re.IGNORECASE)  # noqa: RUF001
_TURN = re.compile(r"\b(?:so|therefore|hence|thus|but|because|since|then)\b", re.IGNORECASE)
_HASHES = re.compile(r"^[ \t]{0,8}#{4}[ \t]+(\S[^\n]{0,5000})", re.MULTILINE)
_NUMBER = re.compile(r"[-+$€£]{0,3}\d[\d,./]*\s?%?\.?")
_IDLE = re.compile(
    r"(?:indeed\s|also\s)?(?:correct|right|reasonable|consistent|verified|valid|clear|confirmed|plausible|as follows"
    r"|obtained"
    r"|found\b|given\b|supposed|expected|in the form|of the form|asked|required|what|now|wrong|incorrect)\b",
    re.IGNORECASE,
)
_BULLETS = re.compile(r"(?:^[ \t]*(?:[-*•]|\d{1,2}[.)]|\*{0,2}\([a-h1-9]\)\*{0,2})[ \t]+[^\n]+\n?){2,}", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d{1,2}[.)]|\*{0,2}\([a-h1-9]\)\*{0,2})[ \t]+", re.MULTILINE)
_LABELLED = re.compile(r"\W{0,4}\(?[A-J]\)?[.:)]\W")
_VERDICT = re.compile(r"[\W_]{0,4}(?:yes|no|true|false)\b[*_]{0,2}[.!;:,]", re.IGNORECASE)
_FENCE = re.compile(r"\s*```[a-z]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_BOLD_LABEL = re.compile(r"(?:[-*•] )?\*\*([A-Za-z][A-Za-z ]{0,30})(?::\*\*|\*\*:) (\S[^\n]{0,60})")
_CLOSED_DISPLAY = ((r"\]", r"\["), ("$$", "$$"))
_END = re.compile(r"\\end(\{[A-Za-z*]{1,20}\})\Z")
_QUOTE_MARKS = re.compile(r"^[ \t]{0,8}(?:```[^\n`]*$|>[ \t]?)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """The final answer as raw text, stripped, or None; `reason` says where it stood, or why there is none."""

    answer: str | None
    reason: str


def find_answer(text: str) -> Found:
    """The final answer told in `text`."""
    kept = without_thinking(text)
    if kept is None:
        return Found(None, "the thinking is never closed")
    kept = without_remarks(kept[-MAX_TEXT_CHARS:])
    if not kept.strip():
        return Found(None, "nothing is said")
    found = _told(kept, outside_quotes(kept), outside_blocks(kept))
    if found is None:
        kept = _QUOTE_MARKS.sub("", kept)
        found = _told(kept, kept, kept)
    return found or Found(None, "no answer found")


def extract_answer(text: str) -> str | None:
    """The final answer told in `text`, stripped; None where there is nothing to judge."""
    return find_answer(text).answer


def boxed(text: str) -> str | None:
    r"""Content of the last outermost closed `\boxed{...}`; None if there is none."""
    closed = [box.content for box in boxes(text[-MAX_TEXT_CHARS:]) if box.content is not None]
    return closed[-1] if closed else None


def _told(text: str, visible: str, unblocked: str) -> Found | None:
    """The answer in what of `text` is visible: cues outside all quotations, last lines outside of blocks."""
    found = final_boxes(text, visible)
    if found:
        return Found(*found)
    for read in (_tagged, _phrased):
        answer = read(text, visible)
        if answer is not None:
            return Found(answer or None, "what follows the last 'answer'" if answer else "the answer is empty")
    labels = _labels(text, unblocked)
    if labels is not None:
        return Found(labels, "the last lines")
    line = _last_line(text, unblocked)
    if line is None:
        return None
    return Found(_concluded(line) or None, "the last line")


def _tagged(text: str, visible: str) -> str | None:
    tags = deque(_TAG.finditer(visible), maxlen=1)
    if tags:
        return _concluded(text[tags[0].start(1) : tags[0].end(1)])
    values = deque(_JSON.finditer(text), maxlen=1) if text.rstrip("` \n").endswith("}") else None
    return clean(values[0][1]) if values else None


def _phrased(text: str, visible: str) -> str | None:
    """What follows the last cue that tells more than that the answer is right."""
    found = deque(_CUE.finditer(visible), maxlen=_MAX_CUES)
    cues = [match.span() for match in found if not _is_denied(visible[max(0, match.start() - 80) : match.start()])]
    last = len(visible.rstrip())
    cues += [
        match.span(1)[:1] * 2
        for match in deque(_HASHES.finditer(visible), maxlen=_MAX_CUES)
        if match.end() >= last or _NUMBER.fullmatch(match[1].strip())
    ]
    cues.sort()
    told = [
        _after_cue(text, end)
        for position, (_, end) in enumerate(cues)
        if not _goes_on(text, cues[:position], cues[position])
    ]
    useful = [answer for answer in told if answer and not _IDLE.match(answer)]
    return (useful or told)[-1] if told else None


def _is_denied(before: str) -> bool:
    """Whether the clause that leads to a cue denies it: "I don't think that the answer is 5"."""
    match = _DENIAL.search(before)
    return match is not None and not _TURN.search(match.group())


def _goes_on(text: str, before: list[tuple[int, int]], cue: tuple[int, int]) -> bool:
    """Whether the cue goes on with a sentence that told an answer already: "the answer to (a) is 3 and to (b) ..."."""
    if not before:
        return False
    position, end = before[-1][1], cue[0]
    return len(sentence_at(text, position)) >= end - position and bool(re.search(r"[\d$\\]", text[position:end]))


def _after_cue(text: str, position: int) -> str:
    """What the cue that ends at `position` introduces: a code block, a list, a display, or the rest of its sentence."""
    window = text[position : position + 6_000]
    window = _CUE_END.sub("", window, count=1)
    fence = _FENCE.match(window)
    if fence:
        return _concluded(fence[1])
    if window.startswith("\n"):
        window = window.lstrip()
        bullets = _BULLETS.match(window)
        if bullets:
            return clean(", ".join(_BULLET.sub("", line).strip() for line in bullets.group().strip().splitlines()))
        window = window.lstrip("#*_ ")
    told = sentence_at(window)
    return "" if window[len(told) : len(told) + 1] == "?" else _concluded(told)


def _last_line(text: str, visible: str) -> str | None:
    """The last line of `text` that is visible, or the display or list it ends; with those that "or" joins to it."""
    parts: list[str] = []
    end = len(visible.rstrip())
    while end and len(parts) < _MAX_CUES:
        start, end = _block(visible, end)
        line = text[start:end]
        parts.append(_bulleted(text, visible, start, line) if _BULLET.match(line) and visible[:start].strip() else line)
        end = len(visible[:start].rstrip())
        start = _line_start(visible, end)
        joint = visible[start:end].strip(" :*").lower()
        if joint not in {"or", "and"}:
            break
        parts.append(joint)
        end = len(visible[:start].rstrip())
    return " ".join(clean(part) for part in reversed(parts)) if len(parts) > 1 else "".join(parts) or None


def _labels(text: str, visible: str) -> str | None:
    """The last lines, where two or more are a bold label and its value each ("**Width:** 6"), as one list."""
    values: list[str] = []
    end = len(visible.rstrip())
    while end and len(values) < _MAX_CUES:
        start = _line_start(visible, end)
        label = _BOLD_LABEL.fullmatch(text[start:end].strip())
        if label is None:
            break
        values.append(f"{label[1]}: {clean(label[2])}")
        end = len(visible[:start].rstrip())
    return ", ".join(reversed(values)) if len(values) > 1 else None


def _block(visible: str, end: int) -> tuple[int, int]:
    """Where the display, environment or line that ends at `end` begins and ends; a lone close is left out."""
    for closing, opening in _CLOSED_DISPLAY:
        if visible.endswith(closing, 0, end):
            start = visible.rfind(opening, 0, end - 2)
            if start >= 0:
                return (_line_start(visible, start) if "\n" not in visible[start:end] else start), end
            end = len(visible[: end - 2].rstrip())
    line = _line_start(visible, end)
    environment = _END.search(visible, line, end)
    start = visible.rfind(f"\\begin{environment[1]}", 0, end) if environment else -1
    return (_line_start(visible, start) if start >= 0 else line), end


def _bulleted(text: str, visible: str, start: int, line: str) -> str:
    """The items of a list of short values that ends with `line`; else that line without its bullet."""
    items = [_BULLET.sub("", line).strip()]
    while start and len(items) < _MAX_CUES:
        before = _line_start(visible, start - 1)
        item = text[before : start - 1]
        if not _BULLET.match(item):
            break
        items.append(_BULLET.sub("", item).strip())
        start = before
    if any(re.search(r"(?<!\\)[A-Za-z]{2}", re.sub(r"\\[A-Za-z]+|and|or", "", item)) for item in items):
        return items[0]
    return ", ".join(reversed(items))


def _line_start(text: str, end: int) -> int:
    return text.rfind("\n", 0, end) + 1


def _concluded(told: str) -> str:
    """The bare answer in a line, a display or the rest of a sentence."""
    told = told.strip()
    box = boxed(told)
    if box:
        return box.strip()
    if len(told) > MAX_TEXT_CHARS // 40 or "\n" in told or _LABELLED.match(told):
        return clean(told)
    if _VERDICT.match(told):
        return clean(told)
    spoken = [sentence for sentence in sentences(told) if not is_remark(sentence)] or [told]
    final = next((sentence for sentence in reversed(spoken) if concludes(sentence)), spoken[-1])
    return conclusion(final)
