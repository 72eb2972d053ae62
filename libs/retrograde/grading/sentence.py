r"""Sentences of a completion: where one ends, what it concludes, and its bare form.

    sentence_at("3.5 m. So", 0)                              "3.5 m"
    conclusion("Therefore, the area is 24 square units")     "24 square units"
    clean("**$42$.**")                                       "42"

Mathematics (`$...$`, `\(...\)`, `\[...\]`, an environment) and quotations are taken as a whole: nothing in them ends a
sentence or is its verb.
"""

from __future__ import annotations

import re

MAX_SENTENCE_CHARS = 5_000  # more than the longest answer that is judged
_MAX_PROSE_CHARS = 1_000  # a longer sentence is left as it is
_MATH = (
    r"\$\$[^$]*\$\$|\$(?=\S)[^$\n]*(?<=\S)\$(?!\d)|\$[ ][^$\n]*[ ]\$(?!\d)|\\\[(?:[^\\]|\\[^\[\]])*\\\]"
    r"|\\\((?:[^\\\n]|\\[^()\n])*\\\)|\\begin\{[A-Za-z*]+\}(?:[^\\]|\\(?!begin|end))*\\end\{[A-Za-z*]+\}"
)
_MASKED = re.compile(rf'{_MATH}|"[^"\n]*"|“[^“”\n]*”|`[^`\n]*`', re.DOTALL)
_STOP = re.compile(rf"{_MATH}|\\text\w*\{{[^{{}}\n]*\}}|\\.|[.!?\n]", re.DOTALL)
_AFTER_STOP = re.compile(r"[\"'”’)*_$\]}]*(?:\s|\Z)")  # noqa: RUF001 - closing quotation marks
_NEVER_LAST = re.compile(r"(?:\b(?:dr|mrs?|ms|st|prof|jr|sr|vs|e\.g|i\.e|approx|fig|eq|cf|resp)|\.\.)\Z", re.IGNORECASE)
_UNIT = re.compile(
    r"(?:\b(?:[ap]\.?m|in|ft|lbs?|oz|sq|hrs?|mins?|secs?|u\.s|etc|min|max)|\b[A-Za-z]\.[A-Za-z])\Z", re.IGNORECASE
)
_CLOCK = re.compile(r"\b[ap]\.\s?m\.\Z", re.IGNORECASE)
_LABEL = re.compile(r"[\s*_(\\]*(?:textbf\{\(?|text\{\(?)?[A-Z]\Z")
_NEW_SENTENCE = re.compile(
    r"[*_\s]*(?:this|that|because|since|therefore|so|it|let|we|explanation|here|option|thus|hence|i|in)\b",
    re.IGNORECASE,
)
_PAIRS = (("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"), ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"),
          ('"', '"'), ("“", "”"), ("‘", "’"), ("'", "'"), ("``", "''"), ("`", "`"))  # fmt: skip # noqa: RUF001
_TAGS = re.compile(r"</?(?:b|strong|em|i|u|p|span|code|br)\s?/?>", re.IGNORECASE)
_BOLD = re.compile(r"(?<![\w)\]}*])\*\*(?=[^\s*])([^*\n]+)(?<=\S)\*\*(?![\w(*])")
_OPENING = re.compile(
    r"(?:(?:and so|so|thus|therefore|hence|then|finally|in (?:conclusion|summary|total|all(?=,))|consequently|overall"
    r"|altogether"
    r"|accordingly|it follows that|(?:so |thus )?we (?:get|have|find|conclude|see|obtain|know)(?: that)?"
    r"|this (?:gives|means)(?: us)?(?: that)?"
    r"|which (?:gives|means)(?: that)?)\b|\\therefore|∴|\\implies|⇒|=>|→)\s*[,:]?\s*",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:not|no|never|cannot|if|unless|when|whenever|where(?!as)|such that|there|either|neither|nor|between|only"
    r"|least|most"
    r"|maybe|perhaps|might|could|may|possibly|but|except|false|wrong|incorrect|assume|suppose|let)\b|n['’]t\b|\?",  # noqa: RUF001
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?<!\bthat )(?<!\bwhich )(?<!\bwho )"
    r"\b(?:is|are|was|were|equals?|becomes?|comes to|amounts to|(?:will|would|must|should) be)\b"
    r"(?: (?:equal to|exactly|simply|just|then|therefore|thus|also|indeed|given by|approximately|about|roughly))*",
    re.IGNORECASE,
)
_GIVEN = re.compile(r"(?:for|at|with|given|using|taking)\b", re.IGNORECASE)
_HEAD = re.compile(r"(?:[A-Za-z][A-Za-z'’-]* ){0,11}[A-Za-z][A-Za-z'’-]*(?P<sign> ?=|:(?= ))")  # noqa: RUF001
_FUNCTION = re.compile(
    r"\b(?:sin|cos|tan|cot|sec|csc|log|ln|exp|max|min|gcd|lcm|mod|det|lim|arc\w*|theta|alpha|beta|phi|pi)\b"
)
_NUMBER_WORD = (
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|seventy"
    r"|eighty|ninety|a hundred|a thousand|half)\b"
)
_VALUE = re.compile(
    rf"[-+\u2212]?\s*[.\d]|[$€£¥\\(\[{{√π∞|\x00]|(?!(?:[aAI]\s+\w))[A-Za-z](?![A-Za-z'\u2019.])|{_NUMBER_WORD}",
    re.IGNORECASE,
)
_SAYS_NUMBER = re.compile(rf"\d|\b{_NUMBER_WORD}", re.IGNORECASE)
_TAIL = re.compile(
    r" \((?:since|because|as|by|using|from|see|rounded)\b[^()]*\)\Z|,? (?:because|since|instead of|rather than)\b.*"
    r"|, (?:which|so|making|giving|as|where|leaving|meaning|(?:and )?not)\b.*",
    re.IGNORECASE,
)
_SO = re.compile(r".*[,;] (?:and )?(?:so|thus|hence|therefore),? ", re.IGNORECASE)
_SINCE = re.compile(r"(?:since|because|as|out of|of) .*, ", re.IGNORECASE)
_REVERSE = re.compile(
    r"(.+?),? (?:is|are) (?:the|our|my|your) (?:final |correct |right |required |desired )?(?:answers?|solutions?)"
)


def sentence_at(text: str, start: int = 0) -> str:
    """The sentence of `text` that begins at `start`, without what ends it; at most MAX_SENTENCE_CHARS."""
    limit = min(len(text), start + MAX_SENTENCE_CHARS)
    for match in _STOP.finditer(text, start, limit):
        if _ends(text, start, match):
            is_clock = _CLOCK.search(text, max(start, match.end() - 5), match.end())
            return text[start : _after_marks(text, match.end()) if is_clock else match.start()]
    return text[start:limit]


def _after_marks(text: str, position: int) -> int:
    """Where the emphasis that closes at `position` ends."""
    while text[position : position + 1] in {"*", "_"}:
        position += 1
    return position


def sentences(line: str) -> list[str]:
    """The sentences of a line, none of them blank."""
    found, start = [], 0
    while start < len(line):
        sentence = sentence_at(line, start)
        start += len(sentence) + 1
        if sentence.strip(" *_"):
            found.append(sentence.strip())
    return found


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the stop at `match` ends the sentence that began at `start`."""
    stop = match.group()
    if stop == "\n":
        return True
    if len(stop) > 1 or not _AFTER_STOP.match(text, match.end()):
        return False
    before = text[max(start, match.start() - 12) : match.start()]
    if stop == "!":
        return bool(re.search(r"[a-z]{2}[*_]*\Z", before))  # "5!" and "n!" are factorials
    return stop == "?" or not _abbreviates(text, start, before, match.end())


def _abbreviates(text: str, start: int, before: str, end: int) -> bool:
    """Whether the full stop after `before` belongs to an abbreviation, an initial or the letter of a choice."""
    follows = text[end : end + 20].lstrip("*_ ")
    if not follows or follows[0] == "\n":
        return False
    if _NEVER_LAST.search(before):
        return True
    if end - start < len(before) + 2 and _LABEL.fullmatch(before):
        return not _NEW_SENTENCE.match(follows)
    return bool(_UNIT.search(before)) and not follows[0].isupper()


def clean(text: str) -> str:
    """`text` without what is around it: emphasis, quotation marks, delimiters of mathematics, the last punctuation."""
    text = _BOLD.sub(r"\1", _TAGS.sub("", text).strip().rstrip("✓✔✅☑🎉\ufe0f "))
    for _ in range(8):
        bare = _without_ends(text)
        for opening, closing in _PAIRS:
            inner = bare[len(opening) : -len(closing)]
            if (
                bare.startswith(opening)
                and bare.endswith(closing)
                and inner.strip()
                and _whole(inner, opening, closing)
            ):
                bare = inner
                break
        if bare == text:
            break
        text = bare
    return text


def _whole(inner: str, opening: str, closing: str) -> bool:
    return opening not in inner and closing not in inner


def _without_ends(text: str) -> str:
    text = text.strip().lstrip("}:").strip()
    if text.count("**") == 1:
        text = text.removeprefix("**").removesuffix("**").strip()
    if text.count("$") % 2 and text.endswith("$") and not text.endswith(r"\$"):
        text = text.removesuffix("$")
    for opening, closing in ((r"\[", r"\]"), (r"\(", r"\)"), ("{", "}")):
        if text.endswith(closing) and text.count(closing) > text.count(opening):
            text = text.removesuffix(closing).rstrip()
    if text.count("$$") == 1:
        text = text.removesuffix("$$").rstrip()
    if not _CLOCK.search(text):
        text = text.rstrip(".,;: ") if not text.endswith((r"\,", r"\;", r"\:", "...")) else text
    return re.sub(r"(?<!\\)\\\\\Z", "", text).strip()


def conclusion(sentence: str) -> str:
    """What the sentence says its subject is, where that is a value and the sentence has one verb; else the sentence."""
    told = re.sub(r"\A(?:[-*•]\s+(?=[A-Z][a-z])|\W{0,3}[Ss]tep \d+\W{1,5})", "", sentence.strip())
    if len(told) > _MAX_PROSE_CHARS or "\n" in told:
        return sentence
    told = without_opening(" ".join(told.split()))
    bare = _TAIL.sub("", told) if not _TAIL.match(told) else told
    last = _last_clause(told)
    says_number = _SAYS_NUMBER.search(last) is not None
    for clause in (last,) if says_number else (last, bare):
        for read in (_reverse, _bold, _after_copula, _after_head):
            found = read(clause)
            if found:
                return clean(found)
    return clean(told if says_number else bare)


def _last_clause(told: str) -> str:
    """What a sentence concludes from its rest: "..., so the last digit is 1", "Since ..., the sum is 5"; or ""."""
    masked = _masked(told)
    match = _SO.match(masked) or _SINCE.match(masked)
    return _TAIL.sub("", told[match.end() :]) if match else ""


def concludes(sentence: str) -> bool:
    """Whether the sentence opens like a conclusion ("Therefore, ...", "So ...")."""
    return bool(_OPENING.match(sentence.lstrip("*_ $")))


def without_opening(sentence: str) -> str:
    """The sentence without its "Therefore," and the like."""
    for _ in range(4):
        match = _OPENING.match(sentence)
        if not match or match.end() == len(sentence):
            break
        sentence = sentence[match.end() :]
    return sentence


def _reverse(told: str) -> str | None:
    match = _REVERSE.fullmatch(told)
    return match[1] if match and not _DOUBT.search(match[1]) else None


def _bold(told: str) -> str | None:
    """The one bold part, where it tells a value and the sentence states no doubt and no choice."""
    spans = re.findall(r"\*\*([^*]+)\*\*", told)
    if len(spans) != 1 or not _VALUE.match(spans[0].strip()) or _DOUBT.search(told) or re.search(r"\bor\b", told):
        return None
    return None if spans[0].rstrip().endswith(":") else str(spans[0])


def _masked(told: str) -> str:
    return _MASKED.sub(lambda match: "\x00" * len(match.group()), told)


def _after_copula(told: str) -> str | None:
    masked = _masked(told)
    found = list(_COPULA.finditer(masked))
    if len(found) != 1 or _DOUBT.search(masked):
        return None
    subject, value = told[: found[0].start()], told[found[0].end() :].strip().lstrip(": ")
    if _VALUE.match(masked) and re.search(r",|\b(?:and|while|but)\b", subject):
        return None  # "5 and the other is 6"
    if "," in subject and ("=" not in subject or _GIVEN.match(subject)):
        subject = subject.rsplit(",", 1)[1]
    if not subject.strip() or re.search(r"[=;<>]|\bor\b|\A\s*(?:and|while)\b", subject):
        return None
    return value if _VALUE.match(_masked(value.lstrip("*_ "))) else None


def _after_head(told: str) -> str | None:
    """What follows "Total area =" or "Total:"; a formula keeps its left side."""
    head = _HEAD.match(told)
    if not head or _FUNCTION.search(head.group()) or _DOUBT.search(told) or not re.search(r"[A-Za-z]{4}", head.group()):
        return None
    value = told[head.end() :].strip()
    if head["sign"] == ":" and ":" in value:
        return None
    return value if _VALUE.match(_masked(value.lstrip("*_ "))) else None
