r"""Is this answer right? Pure, exact, and it never evaluates model text.

    grade(text, gold) -> Grade      the one entry; `text` is a whole completion or a bare answer

What happens, in this order:

    answer.py    finds the final answer in the text: last `\boxed{}`, "the answer is ...", final line
    normal.py    one spelling: LaTeX spacing, unicode, \text{}, currency, degrees, thousands separators
    tokens.py    characters -> tokens
    parser.py    tokens -> expression (expression.py), by our own grammar; nested and long input is refused
    exact.py     rational arithmetic, with a cost gate before each operation
    probing.py   what is not rational: both sides at random points, 50 digits
    equivalence.py   which comparison the gold asks for: number, expression, set, tuple, interval, equation, text

Each stage is bounded by what it is given, not by a clock; services/verifier adds the clock.
"""

from retrograde.grading.answer import extract_answer
from retrograde.grading.grading import grade

__all__ = ["extract_answer", "grade"]
