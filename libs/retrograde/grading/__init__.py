r"""Is this answer right? Pure, exact, and it never evaluates model text.

    grade(text, gold, question="") -> Grade      the one entry; `text` is a whole completion or a bare answer

What happens, in this order:

    answer.py, boxes.py, quoting.py, sentence.py    find the final answer in the text
    choices.py, moments.py, words.py, meanings.py   letters, dates and times, text: compared as such
    characters.py, normal.py                        one spelling: Unicode, LaTeX layout, names of commands
    tokens.py, measures.py, units.py                characters -> tokens; units of measurement as one token
    phrases.py, wordings.py, items.py, clauses.py   words around, between and in place of mathematics
    piecewise.py                                    "x if x > 0, and 0 otherwise" as cases
    parser.py, atoms.py, cursor.py                  tokens -> expression (expression.py), by our own grammar
    reading.py, namings.py, asides.py               all that an answer may mean; sets with a name; what stands beside it
    equivalence.py                                  which comparison the gold asks for:
        scalars.py       numbers, expressions, quantities, decimals     exact.py, probing.py, functions.py
        relations.py     equations, definitions, chains                 records.py: x = 1, y = 2
        regions.py       intervals and inequalities                     families.py: 2k + 1, k an integer
        letters.py       letters that may have other names, directions

Each stage is bounded by what it is given, not by a clock; services/verifier adds the clock. The rules in words are in
docs/grading.md.
"""

from retrograde.grading.answer import extract_answer
from retrograde.grading.grading import grade

__all__ = ["extract_answer", "grade"]
