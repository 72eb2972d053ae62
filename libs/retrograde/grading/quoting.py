"""What of a completion speaks for its author: not the thinking, not what is quoted, not the closing remarks.

Masks keep every position: what is quoted becomes blanks, so that what is found in a mask is at the same place in the
text. Every pattern stops at the next character that could open it again, so each scan is one pass.
"""

from __future__ import annotations

import re

_THINKING = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_SPECIAL = re.compile(r"<\|[^|<>\n]{1,40}\|>|</s>|<eos>")
_BLOCKS = re.compile(r"```.*?(?:```|\Z)|^[ \t]{0,8}>[^\n]*", re.DOTALL | re.MULTILINE)
_SPANS = re.compile(
    r"``[^`\n]*(?:''|``)|`[^`\n]*`"
    r'|(?<![^\s(\[{*])"(?=\S)[^"\n]*"(?!\w)'
    r"|(?<![^\s(\[{*])'(?=\S)[^'\n]*'(?!\w)"
    r"|“[^“”\n]*”|‘[^‘’\n]*’|«[^«»\n]*»"  # noqa: RUF001 - the quotation marks that are looked for
)
_MARKS = r"[\s*_#>=\-]*"
_REMARK = re.compile(
    _MARKS
    + r"(?:(?:i|we)\s+hope\b|hope\s+(?:this|that|it)\b|(?:please\s+)?let\s+me\s+know\b|(?:please\s+)?feel\s+free\b"
    r"|if\s+you(?:'d|\s+(?:have|need|would|want))\b|good\s+luck\b|have\s+a\s+(?:great|nice|good)\b"
    r"|is\s+there\s+anything\b|would\s+you\s+like\b|do\s+you\s+(?:want|have|need)\b|thank(?:s|\s+you)\b"
    r"|happy\s+(?:to|learning|studying)\b|q\.?\s?e\.?\s?d\b|(?:this|which)\s+(?:completes|concludes|finishes)\b|end\s+of\b"
    r"|best(?:,|\s+regards)|cheers\b|great\s+(?:job|work)\b|any\s+(?:other\s+)?questions\b|(?:great|done|perfect)[.!]"
    r"|\\(?:blacksquare|qed|square|Box)\b|[∎□■◻▪]|\$\\(?:blacksquare|square|Box)\$|(?:-{3,}|\*{3,}|_{3,}|={3,})\s*\Z)",
    re.IGNORECASE,
)
_TOLD = re.compile(r"\d|\\boxed|\\fbox")
_MAX_REMARK_CHARS = 300


def without_thinking(text: str) -> str | None:
    """`text` without its <think> parts; what stands before a close that was never opened is thinking too.

    None where the thinking is never closed.
    """
    kept: list[str] = []
    position, thinking = 0, False
    for match in _THINKING.finditer(text):
        if match[1] and not thinking:
            kept.clear()
        elif not match[1] and not thinking:
            kept.append(text[position : match.start()])
        thinking = not match[1]
        position = match.end()
    return None if thinking else _SPECIAL.sub("", "".join(kept) + text[position:])


def without_remarks(text: str) -> str:
    """`text` without the remarks that close it ("Hope this helps!", "Q.E.D.", a rule), right-stripped."""
    end = _trimmed(text, len(text))
    while end:
        start = text.rfind("\n", 0, end) + 1
        if not is_remark(text[start : min(end, start + _MAX_REMARK_CHARS + 1)]):
            break
        end = _trimmed(text, start)
    return text[:end]


def _trimmed(text: str, end: int) -> int:
    """`end` without the white space before it; counted, not copied, as there may be a remark on every line."""
    while end and text[end - 1].isspace():
        end -= 1
    return end


def is_remark(line: str) -> bool:
    """Whether a line or sentence is politeness or an end mark, and tells no number and no box."""
    return len(line) <= _MAX_REMARK_CHARS and bool(_REMARK.match(line)) and not _TOLD.search(line)


def outside_blocks(text: str) -> str:
    """`text` with code blocks and lines that begin with ">" blanked."""
    return _BLOCKS.sub(_blank, text)


def outside_quotes(text: str) -> str:
    """`text` with blocks, inline code and what stands in quotation marks blanked."""
    return _SPANS.sub(_blank, outside_blocks(text))


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match.group())
