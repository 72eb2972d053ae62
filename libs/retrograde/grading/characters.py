"""Characters that mean the same: Unicode mathematics, raised and lowered digits, fractions in one character."""

# ruff: noqa: RUF001 - these tables are made of look-alikes

from __future__ import annotations

import re
import unicodedata

_UNICODE = str.maketrans({
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "•": "*", "∗": "*",
    "÷": "/", "∕": "/", "⁄": "/", "∶": ":", "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "∛": r"\sqrt[3]",
    "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx ",
    "≡": r"\equiv ", "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ", "∖": r"\setminus ", "∈": r"\in ",
    "∅": r"\emptyset ", "ℝ": r"\R ", "ℤ": r"\Z ", "ℕ": r"\N ", "ℚ": r"\Q ", "ℂ": r"\C ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle ",
    "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "°": r"\degree ", "º": r"\degree ", "′": "'", "″": '"',
    "€": r"\euro ", "£": r"\pound ", "¥": "", "₹": "", "“": '"', "”": '"', "’": "'", "‘": "'", "∀": " for ",
    "→": r"\to ",
    "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "λ": r"\lambda ",
    "μ": r"\mu ", "σ": r"\sigma ", "φ": r"\phi ", "ω": r"\omega ", "ρ": r"\rho ", "τ": r"\tau ", "ε": r"\epsilon ",
    "Ω": r"\text{Ω}", "\u2126": r"\text{Ω}", "µ": "μ", "…": r"\ldots ", "⋯": r"\ldots ", "∼": "~", "¢": r"\text{¢}",
    "⊂": r"\subset ", "∨": r"\lor ", "∧": r"\land ", "\u200b": "", "\ufeff": "", "\u2061": "", "\u2062": "", "│": "|",
})  # fmt: skip
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿⁱˣ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₋₊ₙ"
_SCRIPTS = str.maketrans(_RAISED + _LOWERED, "0123456789-+nix" + "0123456789-+n")
_SCRIPT = re.compile(f"(?P<up>[{_RAISED}]+)|(?P<down>[{_LOWERED}]+)")
_VULGAR = re.compile("[¼½¾⅐-⅞]")


def in_one_alphabet(text: str) -> str:
    """`text` with Unicode mathematics as LaTeX, raised digits as exponents, and compatible letters as plain ones."""
    text = _SCRIPT.sub(_script, text)
    text = _VULGAR.sub(lambda match: " " + unicodedata.normalize("NFKC", match.group()).replace("⁄", "/"), text)
    return unicodedata.normalize("NFKC", text.translate(_UNICODE)).translate(_UNICODE)


def _script(match: re.Match[str]) -> str:
    sign = "^" if match["up"] else "_"
    return f"{sign}{{{match.group().translate(_SCRIPTS)}}}"
