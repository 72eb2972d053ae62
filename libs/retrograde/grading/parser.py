r"""Tokens to an expression, by recursive descent. Nothing is evaluated here.

items       union (, ; or  union)*
union       relation (\cup \cap \setminus  relation)*
relation    sum (= < > \le \ge \ne \approx \in \equiv  sum)*
sum         product (+ - \pm  product)*
product     power (* / :  power)*, and powers side by side: "2x"; "3 1/2" and "3\frac12" are mixed numbers; then a unit
power       sign* atom postfix* (^ argument)?       postfix: ! % \degree
atom        see atoms.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

from retrograde.grading.atoms import Atoms
from retrograde.grading.cursor import END
from retrograde.grading.expression import (
    Apply,
    Collection,
    CostError,
    Expression,
    Number,
    Quantity,
    Relation,
    Symbol,
    UnreadableError,
    height,
)
from retrograde.grading.tokens import Kind, Token

MAX_TOKENS = 1_500
MAX_HEIGHT = 100
_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~", "in": "in", "equiv": "==",
    "Rightarrow": "=", "implies": "=", "subset": "in",
}  # fmt: skip
_SETS = ("cup", "cap", "setminus", "backslash")
_SIGNS = {"+": "add", "-": "neg", "pm": "pm", "mp": "mp"}


def parse(tokens: Sequence[Token]) -> Expression:
    """The expression all tokens make; commas outside brackets make a list. Raises UnreadableError or CostError."""
    if len(tokens) > MAX_TOKENS:
        raise CostError(f"answer of {len(tokens)} tokens; at most {MAX_TOKENS} are read")
    expression = _Parser(tokens).whole()
    if height(expression) > MAX_HEIGHT:
        raise CostError(f"an expression of more than {MAX_HEIGHT} levels")
    return expression


class _Parser(Atoms):
    """One pass over the tokens."""

    def whole(self) -> Expression:
        """All of it."""
        if not self._tokens:
            raise UnreadableError("nothing to read")
        alternatives = [self._list()]
        while self._took("or", "lor"):
            alternatives.append(self._list())
        if self._peek() is not END:
            raise UnreadableError(f"did not expect {self._peek().text or 'a unit'!r}")
        return alternatives[0] if len(alternatives) == 1 else Collection("or", tuple(alternatives))

    def _list(self) -> Expression:
        items = self.items()
        return items[0] if len(items) == 1 else Collection(",", tuple(items))

    def items(self) -> list[Expression]:
        """Relations between commas or semicolons."""
        items = [self.relation()]
        while self._took(",", ";", "land"):
            if self._peek() is END or self._is_command("ldots"):
                items += [Symbol("\\ldots")] if self._took("ldots") else []
                self._took(",")
                continue
            start = self._next
            item = self.relation()
            is_same = bool(items) and self._tokens[start].text == "approx"
            items[-1:] = [Relation((items[-1], item), ("~",))] if is_same else [items[-1], item]
        return items

    def relation(self) -> Expression:
        r"""Sums between signs of relation; `\ge 5` alone has an unnamed left side."""
        if self._is_command("approx"):
            self._take()
        if self._peek().text in {"le", "ge", "<", ">", "ne"}:
            sign = _RELATIONS[self._take().text]
            return Relation((Symbol("?"), self._deeper(self._sum)), (sign,))
        sides, signs = [self._deeper(self._side)], list[str]()
        while self._peek().kind in {Kind.SIGN, Kind.COMMAND} and self._peek().text in _RELATIONS:
            signs.append(_RELATIONS[self._take().text])
            while self._took("="):
                continue
            sides.append(self._deeper(self._side))
        relation = Relation(tuple(sides), tuple(signs)) if signs else sides[0]
        return self._modulo(relation) if self._is_command("pmod") else relation

    def _side(self) -> Expression:
        side = self._sum()
        while self._is_command(*_SETS):
            operation = self._take().text
            kind = "setminus" if operation == "backslash" else operation
            side = Collection(kind, (side, self._sum()))
        return side

    def _modulo(self, relation: Expression) -> Expression:
        self._take()
        modulus = self._deeper(self.argument)
        match relation:
            case Relation((left, right), ("==" | "=",)):
                return Relation((left, right, modulus), ("==", "mod"))
            case _:
                return Relation((Symbol("?"), relation, modulus), ("==", "mod"))

    def _sum(self) -> Expression:
        terms = [self.product()]
        while self._is_sign("+", "-") or self._is_command("pm", "mp"):
            operation = _SIGNS[self._take().text]
            if self._took("ldots"):
                self._take("+")
                return _arithmetic(terms, self.product())
            term = self.product()
            terms.append(term if operation == "add" else Apply(operation, (term,)))
        return terms[0] if len(terms) == 1 else Apply("add", tuple(terms))

    def product(self) -> Expression:
        """Factors, then a unit; a quantity beside a quantity is their sum ("2 h 30 min")."""
        product = self._factors()
        while self._peek().kind is Kind.UNIT:
            product = self._measured(product)
            if self._peek().kind is Kind.NUMBER:
                product = Apply("add", (product, self.product()))
        return product

    def _measured(self, value: Expression) -> Expression:
        unit = self._take().unit
        if unit is None:
            raise UnreadableError("a unit without a size")
        return Quantity(value, unit)

    def _factors(self) -> Expression:
        product = self.power()
        while True:
            if self._is_sign("*", "/"):
                operation = "mul" if self._take().text == "*" else "div"
                product = Apply(operation, (product, self.power()))
            elif self._is_sign(":") and self._peek(1) is not END:
                product = self._ratio(product)
            elif self._took("mod"):
                product = Apply("mod", (product, self.power()))
            elif self.starts_atom():
                product = self._beside(product)
            else:
                return product

    def _ratio(self, first: Expression) -> Expression:
        parts = [first]
        while self._took(":"):
            parts.append(self.power())
        return Apply("div", tuple(parts)) if len(parts) == len(("a", "b")) else Collection(":", tuple(parts))

    def _beside(self, left: Expression) -> Expression:
        """What stands side by side: a mixed number, else a product."""
        is_digits = self._peek().kind is Kind.NUMBER
        slash = is_digits and self._peek(1).text == "/" and self._peek(2).kind is Kind.NUMBER
        if is_digits and not slash and (not isinstance(left, Apply | Symbol) or _is_negative(left)):
            raise UnreadableError(f"two numbers side by side, the second {self._peek().text!r}")
        right = self.power()
        is_mixed = slash and (isinstance(left, Number) or _is_negative(left))
        if is_mixed:
            self._take("/")
            right = Apply("div", (right, self.atom()))
        mixed = _mixed(left, right)
        if is_mixed and mixed is None:
            raise UnreadableError("two numbers side by side")
        return mixed or Apply("mul", (left, right))

    def power(self) -> Expression:
        """Signs, an atom, what stands behind it, an exponent."""
        if self._took("+"):
            return self._deeper(self.power)
        if self._is_sign("-") or self._is_command("pm", "mp"):
            operation = _SIGNS[self._take().text]
            return Apply(operation, (self._deeper(self.power),))
        base = self._postfix(self.atom())
        if self._took("^"):
            exponent = self._deeper(self._exponent)
            return self._postfix(Apply("pow", (base, exponent)))
        return base

    def _exponent(self) -> Expression:
        exponent = self.argument()
        return Apply("pow", (exponent, self._deeper(self._exponent))) if self._took("^") else exponent

    def _postfix(self, expression: Expression) -> Expression:
        operations: dict[str, Callable[[Expression], Expression]] = {
            "!": lambda value: Apply("factorial2" if self._took("!") else "factorial", (value,)),
            "%": _percent,
            "degree": lambda value: Apply("degree", (value,)),
            "_": lambda value: Apply("base", (value, self._deeper(self.argument))),
        }
        while self._is_sign("!", "%") or self._is_command("degree") or self._is_base(expression):
            expression = operations[self._take().text](expression)
        return expression

    def _is_base(self, expression: Expression) -> bool:
        return self._is_sign("_") and isinstance(expression, Number)


def _arithmetic(terms: Sequence[Expression], last: Expression) -> Expression:
    """`1 + 3 + ... + 99`: the mean of the first and the last term, as often as there are terms."""
    values = [term.value for term in (*terms, last) if isinstance(term, Number)]
    steps = {right - left for left, right in pairwise(values[:-1])}
    if len(values) != len(terms) + 1 or len(steps) != 1 or 0 in steps:
        raise UnreadableError("a sum whose terms are not told")
    first, end, step = values[0], values[-1], steps.pop()
    count = (end - first) / step + 1
    if count.denominator != 1 or count < len(values):
        raise UnreadableError("a sum that does not reach its last term")
    return Number((first + end) * count / 2)


def _is_negative(expression: Expression) -> bool:
    match expression:
        case Apply("neg", (Number(),)):
            return True
        case _:
            return False


def _percent(value: Expression) -> Expression:
    match value:
        case Number(digits, places):
            return Number(digits, places, percent=True)
        case Apply("div", (Number(top, None), Number(bottom, None))) if bottom:
            return Number(top / bottom, percent=True)
        case _:
            pass
    return Apply("div", (value, Number(Fraction(100))))


def _mixed(whole: Expression, part: Expression) -> Expression | None:
    """`3` beside `1/2` is 3.5 where both are written in digits and the fraction is proper."""
    match whole, part:
        case Apply("neg", (inner,)), _:
            mixed = _mixed(inner, part)
            return mixed and Apply("neg", (mixed,))
        case Number(value, None), Apply("div", (Number(top, None), Number(bottom, None))) if 0 < top < bottom:
            return Number(value + top / bottom)
        case Number(value, None), Number(share, None, True) if 0 < share < 1:
            return Number(value + share, percent=True)
        case _:
            return None
