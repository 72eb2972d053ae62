r"""One spelling for what is written in many: LaTeX spacing, unicode mathematics, \text{}, currency, degrees, thousands.

Works on characters only; what the characters mean is decided by tokens.py and parser.py.
"""

from __future__ import annotations

import re
import unicodedata

_UNICODE = str.maketrans({
    "−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "∕": "/", "⁄": "/",  # noqa: RUF001
    "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm ",
    "∪": r"\cup ", "°": "", "€": "", "£": "", "¥": "", "“": '"', "”": '"', "’": "'",  # noqa: RUF001
})  # fmt: skip
_SUPERSCRIPTS = {ord(char): digit for char, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True)}
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_VULGAR = re.compile("[¼½¾⅐-⅞]")
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\(?=(?:d|t|c)?frac|sqrt|pi)", r"\\"),  # a doubled backslash, as in JSON read twice
        (r"\\(?:left|right|displaystyle|limits|bigl?|bigr|Bigl?|Bigr|boxed|fbox)(?![A-Za-z])\.?", ""),
        (r"\\\$|\$|\\\(|\\\)|\\\[|\\\]", ""),
        (r"\\[,!;:> ]|\\q?quad(?![A-Za-z])|~|&", " "),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])", ""),
        (r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:cdot|times|ast)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\(?:leqslant|leq|le)(?![A-Za-z])|<=", r"\\le "),
        (r"\\(?:geqslant|geq|ge)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\(?:lt)(?![A-Za-z])", "<"),
        (r"\\(?:gt)(?![A-Za-z])", ">"),
        (r"\\(?:approx|simeq|equiv)(?![A-Za-z])|≈", "="),
        (r"\*\*\s*\Z|\A\s*\*\*(?=[^*]*\Z)", ""),  # bold in Markdown around or after the answer
        (r"\*\*", "^"),
        (r"\\%", "%"),
        (r"\\lvert|\\rvert|\\vert|\\mid", "|"),
        (r"\\(?:lbrace)(?![A-Za-z])", r"\\{"),
        (r"\\(?:rbrace)(?![A-Za-z])", r"\\}"),
        (r"(?<=\d)\{,\}(?=\d{3})", ""),
        (r"\s+", " "),
    )
)
_MARKUP = re.compile(r"\A\*\*(.*)\*\*\Z")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?: \d{3})+(?![\d ]*\d)")


def normalise(text: str) -> str:
    """`text` in one spelling, without outer punctuation; parentheses, sets and order are kept."""
    text = _MARKUP.sub(r"\1", text.strip())
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{match.group().translate(_SUPERSCRIPTS)}}}", text)
    text = _VULGAR.sub(lambda match: " " + unicodedata.normalize("NFKC", match.group()).replace("⁄", "/"), text)  # noqa: RUF001
    text = unicodedata.normalize("NFKC", text.translate(_UNICODE)).translate(_UNICODE)
    text = text.replace(",\\!", "{,}")
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _SPACED_THOUSANDS.sub(lambda match: match.group().replace(" ", ""), text)
    return text.strip().rstrip(".,;:!? " if not text.rstrip().endswith(("!!", "!")) else ".,;:? ").strip()


def join_thousands(text: str) -> str:
    """`text` with the commas of "1,234,567" taken out; in "(1,234)" too, so this is one of two readings."""
    return _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)


def words_of(text: str) -> str:
    """`text` as words to compare: lower case, no punctuation, no article; "(B)" and "B." are "b"."""
    plain = re.sub(r"\\[A-Za-z]+|[^\w\s./+-]", " ", text.casefold())
    words = [word.strip(".") for word in plain.split()]
    return " ".join(word for word in words if word and word not in {"the", "an"})
