r"""One spelling for what is written in many: LaTeX spacing, names of commands, units, currency, thousands.

Works on characters only; what they mean is decided by tokens.py, phrases.py and parser.py. Text set as text stays
marked as `\text{...}`, degrees are `\degree`, matrices stand between `\openmatrix` and `\closematrix`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from retrograde.grading.characters import in_one_alphabet

_Replacement = str | Callable[[re.Match[str]], str]
_Rule = tuple[re.Pattern[str], _Replacement]
_END = r"(?![A-Za-z])"
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "sixteen": 16,
}  # fmt: skip
_FUNCTIONS = "lcm|gcd|cis|sgn|arcsin|arccos|arctan|max|min|mod|sinh|cosh|tanh"
_LETTER_OF = r"(?<![A-Za-z\\])([a-zA-Z])"  # a letter by itself

# Commands that are layout only, and other names of commands that the parser knows.
_GONE = (
    "left right displaystyle textstyle limits nolimits boxed fbox angle measuredangle triangle because therefore "
    "big bigl bigr bigm Big Bigl Bigr Bigm bigg biggl biggr biggm Bigg Biggl Biggr vec overrightarrow overline bar hat "
    "dot ddot mathcal underline mathscr tilde widehat indent noindent nabla"
)
_SAME = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom",
    "leqslant": "le ", "leqq": "le ", "leq": "le ", "geqslant": "ge ", "geqq": "ge ", "geq": "ge ", "neq": "ne ",
    "simeq": "approx ", "approxeq": "approx ", "thickapprox": "approx ", "sim": "approx ", "varnothing": "emptyset ",
    "vee": "lor ", "wedge": "land ", "lnot": "neg ", "lbrace": "{", "rbrace": "}", "bmod": "mod ", "dots": "ldots ",
    "cdots": "ldots ", "dotsc": "ldots ", "rightarrow": "to ", "longrightarrow": "to ", "degrees": "degree ",
}  # fmt: skip
_SIGNS = {
    "cdot": "*", "times": "*", "ast": "*", "bullet": "*", "div": "/", "lt": "<", "gt": ">", "coloneqq": "=",
    "triangleq": "=", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "lVert": "|", "rVert": "|", "Vert": "|",
    "colon": ":", "quad": " ", "qquad": " ",
}  # fmt: skip
_NAMES: dict[str, str] = {
    **dict.fromkeys(_GONE.split(), ""),
    **{old: f"\\{new}" for old, new in _SAME.items()},
    **_SIGNS,
}


def _flat_text(match: re.Match[str]) -> str:
    r"""`\text{...}` without braces inside."""
    return "\\text{" + match[1].replace("{", "").replace("}", "") + "}"


def _rules(*rules: tuple[str, _Replacement]) -> tuple[_Rule, ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


# Each group runs in order; each rule is bounded by the length of an answer.
_LAYOUT = _rules(
    (rf"\\\\(?=(?:[dtc]?frac|sqrt|pi|cdot|left|right|times|infty|pm|boxed){_END})", r"\\"),
    (r"\\\\(?:\[[^\]]{0,8}\])?", r" \\newrow "),
    (r"\\!|\\/", ""),
    (r"\\(?:phantom|label|tag|color|textcolor|[hv]space\*?)\s*\{[^{}]*\}", " "),
    (r"\\begin\s*\{(?:[bpB]?matrix|smallmatrix)\*?\}", r" \\openmatrix "),
    (r"\\begin\s*\{array\}\s*(?:\[[a-z]\])?\s*\{[^{}]*\}", r" \\openmatrix "),
    (r"\\begin\s*\{[vV]matrix\}", r" \\opendeterminant "),
    (r"\\begin\s*\{d?cases\*?\}", r" \\opencases "),
    (r"\\end\s*\{(?:[bpBvV]?matrix|smallmatrix|array)\*?\}", r" \\closematrix "),
    (r"\\end\s*\{d?cases\*?\}", r" \\closecases "),
    (r"\\(?:begin|end)\s*\{[A-Za-z]{1,12}\*?\}", " "),
    (r"\\\$", r"\\dollar "),
    (r"\$|\\\(|\\\)|\\\[|\\\]", ""),
    (r"(?<=\d)(?:\\[,;: ]|\{,\}|~)(?=\d{3}(?!\d))", ""),
    (r"~=", r"\\approx "),
    (r"\\[,;:> ]|~", " "),
    (r"\\(?:left|right)\s*\.", ""),
)
_FORMULAS = _rules(
    (r"(?<![\w.])(\d+)\s*\\mid\s*([a-z])(?![a-z])", r"\2\\equiv 0\\pmod{\1}"),
    (r"\\[dt]?frac\s*\{\s*d\s*([a-z])\s*\}\s*\{\s*d\s*[a-z]\s*\}", r"\1'"),
    (r"\\lim\s*_\s*\{[^{}]*\}", r"\\lim "),
    (r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}", r"\\frac{\1}{\2}"),
    (r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
    (r"(?:\{\}|(?<![\w}\)]))\^\s*\{?(\d+)\}?\s*C_\s*\{?(\d+)\}?", r"\\binom{\1}{\2}"),
    (r"(\d*\.\d*)\s*\\(?:overline|bar|dot)\s*\{\s*(\d+)\s*\}", r"\\repeating{\1}{\2}"),
    (
        (
            r"\\[dt]?frac\s*\{\s*\\(?:text|mathrm)\s*\{([^{}]*)\}\s*\}\s*"
            r"\{\s*\\(?:text|mathrm)\s*\{([^{}]*)\}([^{}]*)\}"
        ),
        r"\\text{\1}/\\text{\2}\3",
    ),
    (r"\\not\s*=|(?<![\w)}!])!=|=/=", r"\\ne "),
    (r"\\O(?![A-Za-z])", r"\\emptyset "),
    (r"(?:[A-Za-z]\s*:)?\s*(?<![A-Za-z])([a-z])\s*\\mapsto(?![A-Za-z])", r"f(\1)="),
    (r"\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\circ(?![A-Za-z])|\s*o(?![A-Za-z]))", r"\\degree "),
    (r"\\(?:mathbb|mathbf|mathds|Bbb|bold)\s*(?:\{\s*([RZNQC])\s*\}|([RZNQC])(?![A-Za-z]))", r"\\\1\2 "),
    (
        r"\\(?:Z|N)\s*(?:\^\s*\{?\s*[+*]\s*\}?|_\s*\{?\s*(?:>\s*0|\\geq?\s*1|\+)\s*\}?)",
        r"\\N ",
    ),
    (r"\\(?:Z\s*_\s*\{?\s*(?:\\geq?(?:slant)?|≥)\s*0|N\s*_\s*\{?\s*0)\s*\}?", r"\\W "),
    (r"\\R\s*\^\s*\{?\s*[+*]\s*\}?", r"\\R "),
    (r"\\(?:hat|mathbf|boldsymbol|vec|bm)\s*\{?\s*(?:\\?([ijk])(?:math)?)(?![A-Za-z])\s*\}?", r"\\unit\1 "),
    (r"\\(?:mathrm|operatorname\*?|rm|mathsf)\s*\{\s*([a-zA-Z])\s*\}", r" \1 "),
    (rf"\\(?:operatorname\*?|mathrm|text)\s*\{{\s*({_FUNCTIONS})\s*\}}", r"\\\1 "),
    (
        r"\\(?:text(?:bf|it|rm|sf|tt|normal)|math(?:rm|bf|it|sf|tt)|ce|mbox|hbox|emph|operatorname\*?|bf|rm)\s*\{",
        r"\\text{",
    ),
    (r"\\(?:text\s*\{\s*)?(det|tr|rank|deg|dim)(?![a-z])\s*\}?\s*(?:[A-Z]|\([A-Z]\))?\s*(?==)", r"v_{\1} "),
    (r"\\degree\s*(?:\\text\s*\{)?\s*([CF])(?![A-Za-z])\}?", r"\\text{°\1}"),
)
_MARKED = re.compile(r"[\\${~!]")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_WORDING = _rules(
    (r"<=|=<", r"\\le "),
    (r">=", r"\\ge "),
    (r":=", "="),
    (r"\\pmod\s*(\d)(?!\d)", r"\\pmod{\1}"),
    (r"\(\s*(?:\\?mod|\\text\s*\{\s*mod\s*\})\s*([^()]{1,40})\)", r"\\pmod{\1}"),
    (r"\+\s*(?:\\text\s*\{\s*)?(?:constant|const\.?)(?![a-z])\s*\}?", "+C"),
    (r"(?:\\degree|\bdegrees?)\s*(?:\\text\s*\{\s*)?([CF])(?:elsius|ahrenheit)\b\s*\}?", r"\\text{°\1}"),
    (r"\b(?:sq\.|sq(?=\s)|square[ds]? )\s*", "square "),
    (r"\b(?:cu\.|cu(?=\s))\s*", "cubic "),
    (r",?\s*(?<![A-Za-z])(?:i\.e\.,?|or equivalently|equivalently|that is,)", " or "),
    (r"(?<=[)\]}])\s*U\s*(?=[(\[\\{])", r" \\cup "),
    (r"\A\s*\](?P<a>[^\[\]()]*)\[\s*\Z", r"(\g<a>)"),
    (r"\A\s*\](?P<a>[^\[\]()]*)\]\s*\Z", r"(\g<a>]"),
    (r"(?<=[\w}\])])\s*\(\s*or ([^()]*)\)", r" or \1"),
    (r"\+/-|\+-", r"\\pm "),
    (r"->", r"\\to "),
    (r"\.\.\.", r"\\ldots "),
    (rf",?\s*\(?\s*{_LETTER_OF}\s*=\s*0,\s*\\pm\s*1,[\\pm\d,\s]*\\ldots\s*\)?", r", \1\\in\\Z "),
    (rf",?\s*\(?\s*{_LETTER_OF}\s*=\s*0,\s*1,[\d,\s]*\\ldots\s*\)?", r", \1\\in\\W "),
    (rf",?\s*\(?\s*{_LETTER_OF}\s*=\s*1,\s*2,[\d,\s]*\\ldots\s*\)?", r", \1\\in\\N "),
    (r"(?<=[)\]}])\s*\^\s*\{?\s*(?:T|\\top|\\intercal)\s*\}?(?![A-Za-z])", " "),
    (r"(?<=closematrix)\s*\^\s*\{?\s*(?:T|\\top|\\intercal)\s*\}?(?![A-Za-z])", " "),
    (r"(?<=[\d}])\s*\\mu\s*(?:\\text\s*\{\s*)?([A-Za-z]+)\}?", r"\\text{μ\1}"),
    (r"(\d+)\s*\\degree\s*(\d+)\s*'", r"(\1+\2/60)\\degree "),
    (rf"_\s*\{{?\s*\\text\s*\{{\s*({'|'.join(_BASES)})\s*\}}\s*\}}?", r" base \1"),
    (r"\b0b([01]+)\b", r"\1_{2}"),
    (rf"\bbase[ -]({'|'.join(_BASES)})\b", lambda match: f"base {_BASES[match[1]]}"),
    (r"(?<=[\d)])\s*(?:\(\s*)?(?:\\text\s*\{)?\s*(?:in )?base[ -](\d+)\s*\}?\s*\)?", r"_{\1}"),
    (r"(?<![\w.\\])([0-9A-Fa-f]+)_\s*\{?16\}?", lambda match: f"{int(match[1], 16)}_{{16}}"),
    (r"\A\s*\*\*([^*]*)\*\*\s*\Z", r"\1"),
    (r"\A\s*\*\*(?=[^*]*\Z)|\*\*\s*\Z", ""),
    (r"`", ""),
    (r"\*\*", "^"),
    (r"\\%", "%"),
    (r"\\\|", "|"),
    (r"(?<!frac )(?<!sqrt )(?<![A-Za-z0-9.\\_{])([a-zA-Z])(\d)(?![\d.])", r"\1_{\2}"),
    (r"\\text\s*\{((?:[^{}]|\{[^{}]*\})*)\}", _flat_text),
    (r"\s+", " "),
)
_LONE_DOLLAR = re.compile(r"(?<!\\)\$(?=\s*[\d.])")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?: \d{3})+(?![\d ]*\d)")


def normalise(text: str) -> str:
    """`text` in one spelling, without outer punctuation; parentheses, sets and order are kept."""
    if text.count("$") % 2:
        text = _LONE_DOLLAR.sub(r"\\dollar ", text)
    text = in_one_alphabet(text.strip())
    if _MARKED.search(text):
        text = _applied(_FORMULAS, _applied(_LAYOUT, text))
        text = _COMMAND.sub(lambda match: _NAMES.get(match[1], match.group()), text)
    text = _SPACED_THOUSANDS.sub(lambda match: match.group().replace(" ", ""), _applied(_WORDING, text))
    return _trimmed(text)


def _applied(rules: tuple[_Rule, ...], text: str) -> str:
    for pattern, replacement in rules:
        if pattern.search(text):  # a substitution that finds nothing costs more than a search that does not
            text = pattern.sub(replacement, text)
    return text


def join_thousands(text: str) -> str:
    """`text` with the commas of "1,234,567" taken out; in "(1,234)" too, so this is one of two readings."""
    return _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)


def _trimmed(text: str) -> str:
    """Without spaces and sentence punctuation at the ends; a factorial and a leading decimal point stay."""
    text = text.strip().rstrip(".,;:? ")
    return text.lstrip(",;:? " if text[:2].strip(".").isdigit() else ".,;:? ").strip()
