r"""One spelling for words: LaTeX unwrapped, remarks in parentheses taken away, plural and British forms folded."""

from __future__ import annotations

import re
import unicodedata

from retrograde.grading.numerals import ordinal, words_to_number

_WRAP = re.compile(r"\\(?:text\w*|math(?:rm|bf|it|sf)|mbox|operatorname|boxed|fbox|emph|underline)\s*\{([^{}]*)\}")
_SPACE = re.compile(r"\\[,!;:> ]|\\q?quad(?![A-Za-z])|~|\s")
_DELIMITERS = re.compile(r"\$|\\[()\[\]]|\*\*|__|[`*\"“”«»„]")
_REMARK = re.compile(r"(?<=\S)\s*\([^()]*\)")
_FORMULA_REMARK = re.compile(r"(?<=\S)\s*\((?:since|because|as|for example|e\.g\.) [^()]*\)", re.IGNORECASE)
_HYPHENATED = re.compile(r"\b([A-Za-z]) -(?=[a-z]{3})")
_REASON = re.compile(r"(?<=\w),? (?:because|since)\b.*", re.IGNORECASE | re.DOTALL)
_HYPHENS = str.maketrans({"‐": "-", "‑": "-", "–": "-", "—": "-", "’": "'", "‘": "'", "&": " & "})  # noqa: RUF001
_JOINED = re.compile(r"\b(non|semi|co|anti|multi|pre|un)-(?=[a-z])", re.IGNORECASE)
_BRITISH = {
    "colour": "color", "favour": "favor",
    "favourite": "favorite", "neighbour": "neighbor", "neighbouring": "neighboring",
    "honour": "honor", "labour": "labor", "harbour": "harbor", "behaviour": "behavior", "flavour": "flavor",
    "centre": "center", "metre": "meter", "litre": "liter", "theatre": "theater",
    "fibre": "fiber", "kilometre": "kilometer",
    "centimetre": "centimeter", "millimetre": "millimeter", "circumcentre": "circumcenter", "incentre": "incenter",
    "orthocentre": "orthocenter", "grey": "gray", "cheque": "check", "tyre": "tire", "programme": "program",
    "maths": "math", "coloured": "colored", "travelled": "traveled", "modelling": "modeling", "labelled": "labeled",
    "maximise": "maximize", "minimise": "minimize", "organise": "organize", "realise": "realize",
    "recognise": "recognize",
    "analyse": "analyze", "defence": "defense", "licence": "license", "aluminium": "aluminum", "jewellery": "jewelry",
    "can't": "cannot",
    "right-angled": "right",
}  # fmt: skip


def plain_words(text: str) -> str | None:
    """`text` as plain words, digits and punctuation; None where mathematics is left in it."""
    plain = _REASON.sub("", _REMARK.sub(" ", _FORMULA_REMARK.sub(" ", unwrapped(text))))
    plain = _HYPHENATED.sub(r"\1-", plain)
    if re.search(r"[\\=+^_<>*|{}\[\]]|(?<!\w)/|/(?!\w)|\d\s*/", plain):
        return None
    return " ".join(re.sub(r"[()!?;:]", " ", plain).split()).strip(".,'- ")


def unwrapped(text: str) -> str:
    r"""`text` without `\text{}`, delimiters of mathematics, emphasis and quotation marks; one kind of hyphen."""
    text = unicodedata.normalize("NFC", text).translate(_HYPHENS)
    for _ in range(3 if "{" in text else 0):
        text = _WRAP.sub(r" \1 ", text)
    return " ".join(_DELIMITERS.sub(" ", _SPACE.sub(" ", text)).split())


def one_spelling(word: str) -> str:
    """A word to compare: lower case, American, singular; numbers and ordinals in figures; a single letter as it is."""
    if len(word) == 1:
        return word
    lower = _JOINED.sub(r"\1", word.lower()).strip("'.").removesuffix("'s")
    rank = ordinal(lower)
    if rank is not None:
        return f"{rank}th"
    number = words_to_number(lower) if lower not in {"a", "an"} else None
    if number is not None:
        return str(number)
    singular = _singular(lower)
    return _BRITISH.get(singular, _BRITISH.get(lower, singular))


def _singular(word: str) -> str:
    if len(word) <= 3 or word.endswith(("ss", "us", "is", "ness")):  # noqa: PLR2004 - "was", "has"
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("xes", "ches", "shes", "sses", "zes")):
        return word[:-2]
    return word.removesuffix("s")
