r"""Multiple choice: the letter an answer names, the options a question offers, and whether two answers name the same.

    letter_of("\textbf{(B)}\ 12")                  "B"
    options("Which? (A) 3 (B) 4")                  {"A": "3", "B": "4"}
    same_choice("4", "B", "Which? (A) 3 (B) 4")    True

A lower-case letter is a choice only where it is marked: "(b)", "option b".
"""

from __future__ import annotations

import re
from itertools import pairwise

from retrograde.grading.spelling import unwrapped

_MAX_CHARS = 2_000
_MAX_QUESTION_CHARS = 50_000
_LETTERS = "ABCDEFGHIJ"
_WORD = r"(?i:(?:the )?(?:correct )?(?:answer|option|choice|letter)(?: is)?:? )"
_RIGHT = r"(?: is (?:the )?(?:correct|right)(?: \w+)?)"
_ONE = re.compile(
    rf"{_WORD}?(?:\((?P<round>[A-Ja-j])\)|\[(?P<square>[A-J])\]|(?P<bare>[A-J]))(?: ?[.:)]|{_RIGHT})?"
    rf"|{_WORD}\(?(?P<named>[A-Ja-j])\)?[.:]?{_RIGHT}?|(?P<lower>[a-j])\)"
)
_WITH_CONTENT = re.compile(
    rf"{_WORD}?(?:\((?P<round>[A-Ja-j])\)[.:]?|\[(?P<square>[A-J])\]|(?P<bare>[A-J])(?:\)[.:]?|[.:](?=\s))"
    r"|(?P<lower>[a-j])\)"
    r"|(?P<named>(?<= )[A-Ja-j])[.:])"
    r"\s*(?P<content>\S.*)",
    re.DOTALL,
)
_LONE_LETTER = re.compile(r"(?<![A-Za-z\\])[A-Ja-j](?![A-Za-z])")
_SEPARATOR = re.compile(r"\s*(?:,\s*(?:and|or)\b|[,;/&]|\band\b|\bor\b)\s*")
_FRAME = re.compile(r"\A(?:both|either|options|choices|answers|only)\s+|\s+only\Z", re.IGNORECASE)
_MARKERS = (
    re.compile(r"\(?\\(?:textbf|text|mathrm|textrm|mathbf)\s*\{\s*\(?([A-J])\s*[).:]?\s*\}\s*[).:]?"),
    re.compile(r"(?<![A-Za-z0-9])\(([A-J])\)"),
    re.compile(r"(?:^|(?<=\s))\*{0,2}([A-J])[.):](?:\*\*)?(?=\s|\$|\\)", re.MULTILINE),
    re.compile(r"(?<![A-Za-z0-9])\(([a-j])\)"),
    re.compile(r"^[ \t]*\*{0,2}([a-j])[.)](?:\*\*)?(?=\s)", re.MULTILINE),
)
_PADDING = re.compile(r"\\(?:qquad|quad|hspace\{[^{}]*\}|newline|(?:begin|end)\{[^{}]*\}|\\|[ ,;:!])|[~&]")
_BULLET = re.compile(r"\n[ \t]*[-*•]?\s*\Z")


def same_choice(told: str, asked: str, question: str = "") -> bool | None:
    """Whether both name the same choice; None where that is not about letters, or where contents must be compared.

    Right letter with the content of another option is wrong; several letters meet only the same set of letters.
    """
    if max(len(told), len(asked)) > _MAX_CHARS:
        return None
    offered = options(question)
    told_letters, asked_letters = letters_of(told), letters_of(asked)
    if told_letters and asked_letters:
        return told_letters == asked_letters and not any(_contradicts(text, offered) for text in (told, asked))
    letters, content = (told_letters, asked) if told_letters else (asked_letters, told)
    if not letters or len(letters) != 1 or not offered:
        return None
    return _names(content, next(iter(letters)), offered)


def letter_of(text: str) -> str | None:
    """The letter of the one choice that `text` is, with or without its content."""
    letters = letters_of(text)
    return next(iter(letters)) if letters and len(letters) == 1 else None


def letters_of(text: str) -> frozenset[str] | None:
    """The letters of the choices that `text` is; None where it is something else."""
    if not _LONE_LETTER.search(text):
        return None
    plain = _plain(text)
    one = _letter(plain)
    if one:
        return frozenset({one})
    parts = [_letter(part.strip()) for part in _SEPARATOR.split(_FRAME.sub("", plain))]
    if len(parts) > 1 and all(parts):
        return frozenset(part for part in parts if part)
    match = _WITH_CONTENT.fullmatch(plain)
    return frozenset({_named(match)}) if match and not _mentions_another(match["content"]) else None


def content_of(text: str) -> str | None:
    """What stands after the letter of a choice ("12" in "(B) 12"); None where nothing does."""
    plain = _plain(text)
    match = _WITH_CONTENT.fullmatch(plain)
    return (
        match["content"].strip() if match and not _letter(plain) and not _mentions_another(match["content"]) else None
    )


def option_of(text: str, question: str) -> str | None:
    """The content of the option whose letter `text` names; None without such a letter or option."""
    letter = letter_of(text)
    return options(question).get(letter) if letter else None


def options(question: str) -> dict[str, str]:
    """The options that the question offers, by letter from A on without a gap; empty where it offers none."""
    question = question[-_MAX_QUESTION_CHARS:]
    for marker in _MARKERS:
        run = _run([(match[1].upper(), match.start(), match.end()) for match in marker.finditer(question)])
        if len(run) > 1:
            contents = _contents(question, run)
            return contents if all(contents.values()) else {}
    return {}


def _run(found: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The last markers that read A, B, C, ... in order."""
    runs: list[list[tuple[str, int, int]]] = []
    for mark in found:
        if mark[0] == "A":
            runs.append([mark])
        elif runs and len(runs[-1]) < len(_LETTERS) and mark[0] == _LETTERS[len(runs[-1])]:
            runs[-1].append(mark)
    return next((run for run in reversed(runs) if len(run) > 1), [])


def _contents(question: str, run: list[tuple[str, int, int]]) -> dict[str, str]:
    contents = {letter: question[end:start] for (letter, _, end), (_, start, _) in pairwise(run)}
    letter, _, end = run[-1]
    last = question[end:].lstrip()
    contents[letter] = last.split("\n", 1)[0]
    return {letter: _bare(content) for letter, content in contents.items()}


def _bare(content: str) -> str:
    r"""The content of an option without padding and with its own delimiters only: "$3 \qquad$" and "4$" lose theirs."""
    content = _PADDING.sub(" ", _BULLET.sub("", content)).replace("**", "").strip().rstrip(";,").strip()
    content = content.removesuffix("$").strip() if content.count("$") % 2 and content.endswith("$") else content
    content = content.removeprefix("$").strip() if content.count("$") % 2 and content.startswith("$") else content
    return content.strip()


def _plain(text: str) -> str:
    text = re.sub(r"\\\((?=[A-Za-z])|(?<=[A-Za-z])\\\)", "$", text[: _MAX_CHARS + 1])
    return unwrapped(re.sub(r"\\ ", " ", text)).strip().rstrip(",;").strip()


def _letter(plain: str) -> str | None:
    match = _ONE.fullmatch(plain) or _ONE.fullmatch(plain.rstrip("."))
    return _named(match) if match else None


def _named(match: re.Match[str]) -> str:
    return str(match["round"] or match["square"] or match["bare"] or match["named"] or match["lower"]).upper()


def _mentions_another(content: str) -> bool:
    """Whether what follows a letter names a further choice: "(A) 3 or (B) 4"."""
    return bool(
        re.search(r"\([A-J]\)|(?:^|\s)[A-J][.):](?:\s|$)|\b(?:option|choice)s? [A-J]\b|\b(?:or|and) [A-J]\b", content)
    )


def _key(content: str) -> str:
    """A content to compare as text."""
    return (
        re.sub(r"[\s{}]|\\(?:left|right|displaystyle|dfrac|frac)?(?![A-Za-z])", "", unwrapped(content))
        .casefold()
        .rstrip(".")
    )


def _contradicts(text: str, offered: dict[str, str]) -> bool:
    """Whether the content after the letter is that of another option, or a number that the option is not."""
    letter, content = letter_of(text), content_of(text)
    if not letter or not content or letter not in offered:
        return False
    key, own = _key(content), _key(offered[letter])
    if key == own:
        return False
    others = {_key(other) for name, other in offered.items() if name != letter}
    number = r"-?\d+(?:\.\d+)?"
    return key in others or bool(re.fullmatch(number, key) and re.fullmatch(number, own) and float(key) != float(own))


def _names(content: str, letter: str, offered: dict[str, str]) -> bool | None:
    """Whether a content is, as text, that of the option; None where only its meaning can tell."""
    key = _key(content)
    named = [name for name, option in offered.items() if _key(option) == key]
    if letter not in offered or not named:
        return None
    return named == [letter]
