r"""What an expression is made of: numbers, names, brackets, \frac and its like, functions, matrices, big operators."""

from __future__ import annotations

from fractions import Fraction

from retrograde.grading.cursor import END, Cursor
from retrograde.grading.expression import (
    Apply,
    Collection,
    Expression,
    Number,
    Quantity,
    Relation,
    Symbol,
    UnreadableError,
)
from retrograde.grading.tokens import Kind, Token
from retrograde.grading.units import MONEY, UNITS

TWO = Number(Fraction(2))
_CLOSERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil"), "langle": ("rangle", "<>")}
_BIG = {"sum": "sum", "prod": "prod", "int": "int"}
_MATRICES = {"openmatrix", "opendeterminant"}
ATOM_COMMANDS = frozenset({"frac", "sqrt", "binom", *_FENCES, *_BIG, *_MATRICES, "repeating", "opencases"})
_LIST_FUNCTIONS = frozenset({"max", "min", "gcd", "lcm"})


class Atoms(Cursor):
    """Reads one atom; `relation`, `items`, `power` and `product` are the parser's."""

    def relation(self) -> Expression:
        """A relation or what is simpler."""
        raise NotImplementedError

    def items(self) -> list[Expression]:
        """Relations between commas."""
        raise NotImplementedError

    def power(self) -> Expression:
        """A signed power."""
        raise NotImplementedError

    def product(self) -> Expression:
        """A product."""
        raise NotImplementedError

    def starts_atom(self) -> bool:
        """Whether the next token may begin a factor."""
        token = self._peek()
        if token.kind is Kind.COMMAND:
            return token.text in ATOM_COMMANDS
        return token.kind in {Kind.NUMBER, Kind.NAME, Kind.FUNCTION} or (
            token.kind is Kind.SIGN and token.text in {"(", "{", "["}
        )

    def atom(self) -> Expression:
        """The next atom. Raises UnreadableError, CostError."""
        token = self._take()
        match token.kind:
            case Kind.NUMBER:
                return self._based(number(token.text))
            case Kind.NAME:
                return self._name(token.text)
            case Kind.FUNCTION:
                return self._function(token.text)
            case Kind.COMMAND:
                return self._command(token.text)
            case Kind.SIGN:
                return self._bracket(token.text)
            case _:
                raise UnreadableError(f"did not expect {token.text or 'a unit'!r}")

    def _based(self, digits: Expression) -> Expression:
        """`1011_2` as a numeral of base 2."""
        if not self._is_sign("_"):
            return digits
        self._take()
        return Apply("base", (digits, self._deeper(self.argument)))

    def _name(self, name: str) -> Expression:
        while self._is_sign("'") or self._is_command("prime"):
            self._take()
            name += "'"
        return Symbol(name)

    def _command(self, command: str) -> Expression:
        if command in {"frac", "binom"}:
            operation = "div" if command == "frac" else "binom"
            return Apply(operation, (self._deeper(self.argument), self._deeper(self.argument)))
        if command == "sqrt":
            return self._root()
        if command in _FENCES:
            return self._fenced(command)
        if command in _BIG:
            return self._big(_BIG[command])
        if command in _MATRICES:
            return self._matrix(command)
        if command == "opencases":
            return self._cases()
        if command == "repeating":
            return repeating(self._braced(), self._braced())
        if command in MONEY:
            return Quantity(self._deeper(self.power), UNITS[MONEY[command]])
        if command == "emptyset":
            return Collection("{}", ())
        raise UnreadableError(f"command \\{command}")

    def _braced(self) -> str:
        """The text in braces."""
        self._take("{")
        text = ""
        while not self._took("}"):
            text += self._take().text
        return text

    def _cases(self) -> Expression:
        """Rows of a value and its condition, as value, condition, value, condition, ..."""
        cells: list[Expression] = []
        while not self._took("closecases"):
            cells.append(self._deeper(self.relation))
            while self._took(",", "&", "newrow", ";", "."):
                continue
        if len(cells) % 2:
            cells.append(Symbol("\\else"))
        return Apply("cases", tuple(cells))

    def _root(self) -> Expression:
        degree: Expression = TWO
        if self._took("["):
            degree = self._deeper(self.relation)
            self._take("]")
        return Apply("root", (self._deeper(self.argument), degree))

    def _fenced(self, opener: str) -> Expression:
        closer, operation = _FENCES[opener]
        items = self._deeper(self.items)
        self._take(closer)
        if operation == "<>":
            return Collection("<>", tuple(items))
        if len(items) != 1:
            raise UnreadableError(f"a list in \\{opener}")
        return Apply(operation, (items[0],))

    def _big(self, operation: str) -> Expression:
        r"""`\sum_{k=0}^{n} body`, `\int_a^b body dx`."""
        lower: Expression | None = None
        upper: Expression | None = None
        while self._is_sign("_", "^"):
            if self._take().text == "_":
                lower = self._deeper(self._limit)
            else:
                upper = self._deeper(self.argument)
        body = self._deeper(self.product)
        if lower is None or upper is None:
            raise UnreadableError(f"\\{operation} without limits")
        if operation == "int":
            return _integral(lower, upper, body)
        return _sum(operation, lower, upper, body)

    def _limit(self) -> Expression:
        if not self._took("{"):
            return self.argument()
        limit = self.relation()
        self._take("}")
        return limit

    def _matrix(self, command: str) -> Expression:
        rows: list[list[Expression]] = [[]]
        while not self._took("closematrix"):
            rows[-1].append(self._deeper(self.relation))
            if self._took("newrow"):
                rows.append([])
            elif not self._took("&") and not self._is_command("closematrix"):
                raise UnreadableError(f"did not expect {self._peek().text!r} in a matrix")
        filled = [Collection("()", tuple(row)) for row in rows if row]
        matrix = Collection("matrix", tuple(filled))
        return Apply("det", (matrix,)) if command == "opendeterminant" else matrix

    def _function(self, function: str) -> Expression:
        if self._is_sign("=", "}", ",") or self._peek() is END:
            return Symbol(function)
        degree: Expression | None = None
        base: Expression | None = None
        while self._is_sign("^", "_"):
            if self._take().text == "^":
                degree = self._deeper(self.argument)
            else:
                base = self._deeper(self.argument)
        applied = self._applied(function, base)
        inverse = Number(Fraction(-1))
        if degree in (inverse, Apply("neg", (Number(Fraction(1)),))) and function in {"sin", "cos", "tan"}:
            return Apply(f"arc{function}", applied.arguments)
        return applied if degree is None else Apply("pow", (applied, degree))

    def _applied(self, function: str, base: Expression | None) -> Apply:
        if function in _LIST_FUNCTIONS and self._is_sign("(", "\\{", "{"):
            closer = _CLOSERS[self._take().text]
            items = self._deeper(self.items)
            self._take(closer)
            return Apply(function, tuple(items))
        argument = self._deeper(self._operand)
        return Apply(function, (argument,) if base is None else (argument, base))

    def _operand(self) -> Expression:
        """What a function is applied to: brackets, or the factors that follow ("sin 2x")."""
        if self._is_sign("(", "{", "|", "["):
            return self.power()
        if self._took("\\{"):
            inner = self.relation()
            self._take("\\}")
            return inner
        product = self.power()
        while self._peek().kind is Kind.NAME or self._is_command("frac", "sqrt"):
            product = Apply("mul", (product, self.power()))
        while self._is_sign("/") and self._peek(1).kind is Kind.NUMBER and isinstance(product, Symbol):
            self._take()
            product = Apply("div", (product, self.atom()))
        return product

    def argument(self) -> Expression:
        r"""A LaTeX argument: a group, or one digit or name ("\frac12"); after ^ also a signed number."""
        token = self._peek()
        if token.kind is Kind.NUMBER and self._next and self._peek(-1).text not in {"^", "_"}:
            return self._digit()
        if token.text in {"-", "+"}:
            self._take()
            inner = self._deeper(self._signless)
            return Apply("neg", (inner,)) if token.text == "-" else inner
        if token.kind is Kind.NUMBER:
            return number(self._take().text)
        if token.kind is Kind.NAME:
            return Symbol(self._take().text)
        return self.atom()

    def _signless(self) -> Expression:
        return number(self._take().text) if self._peek().kind is Kind.NUMBER else self.argument()

    def _digit(self) -> Expression:
        """The first digit of a number; the rest of it stays to be read."""
        token = self._take()
        if len(token.text) > 1 and token.text.isdigit():
            self._next -= 1
            self._tokens[self._next] = Token(Kind.NUMBER, token.text[1:])
            return number(token.text[0])
        return number(token.text)

    def _bracket(self, opener: str) -> Expression:
        if opener == "|":
            inner = self._deeper(self.relation)
            self._take("|")
            return Apply("abs", (inner,))
        if opener not in _CLOSERS:
            raise UnreadableError(f"did not expect {opener!r}")
        if self._is_sign(_CLOSERS[opener]) and opener != "{":
            self._take()
            return Collection("{}" if opener == "\\{" else "()", ())
        items = self._deeper(self.items)
        return self._closed(opener, items, self._take().text)

    def _closed(self, opener: str, items: list[Expression], closer: str) -> Expression:
        is_half_open = opener in "([" and closer in {")", "]", "["}
        if closer != _CLOSERS[opener] and not is_half_open:
            raise UnreadableError(f"{opener!r} closed by {closer!r}")
        if opener == "\\{" or (opener == "{" and len(items) > 1):
            return Collection("{}", tuple(items))
        if len(items) == 1 and (opener != "[" or _is_matrix(items[0])):
            return items[0]
        if closer == "[":
            closer = ")"
        return Collection(opener + closer, tuple(items))


def _is_matrix(expression: Expression) -> bool:
    return isinstance(expression, Collection) and expression.kind == "matrix"


def number(text: str) -> Number:
    """The number a token spells."""
    digits = text.lower().partition("e")[0]
    _, point, decimals = digits.partition(".")
    return Number(Fraction(text), len(decimals) if point else None)


def repeating(before: str, period: str) -> Number:
    """`0.1` and `6` as 0.1666..."""
    whole, _, decimals = before.partition(".")
    if not (period.isdigit() and f"{whole}{decimals}0".isdigit()):
        raise UnreadableError("a repeating decimal that is no number")
    start = Fraction(int(f"{whole}{decimals}" or "0"), 10 ** len(decimals))
    return Number(start + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(decimals)))


def _sum(operation: str, lower: Expression, upper: Expression, body: Expression) -> Expression:
    match lower:
        case Relation((Symbol() as index, start), ("=",)):
            return Apply(operation, (index, start, upper, body))
        case _:
            raise UnreadableError("a sum whose index has no start")


def _integral(lower: Expression, upper: Expression, body: Expression) -> Expression:
    """The body ends in a factor d and a variable: "x^2 dx"."""
    match body:
        case Apply("mul", (Apply("mul", (integrand, Symbol("d"))), Symbol() as variable)):
            return Apply("int", (variable, lower, upper, integrand))
        case _:
            raise UnreadableError("an integral without its variable")
