r"""Tokens to an expression, by recursive descent. Nothing is evaluated here.

    relation    sum (= < > \le \ge \ne  sum)*
    sum         product (+ - \pm  product)*
    product     power (* /  power)*, and powers side by side: "2x"; "3 1/2" and "3\frac12" are mixed numbers
    power       sign* atom postfix* (^ argument)?       postfix: ! %
    atom        number, name, \frac, \binom, \sqrt[n], function, (...), [...], {...}, \{...\}, |...|

Words are dropped around the one stretch of tokens that holds numbers ("17 eggs", "x = 5 \text{ cm}^2").
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from retrograde.grading.expression import (
    Apply,
    Collection,
    CostError,
    Expression,
    Number,
    Relation,
    Symbol,
    UnreadableError,
)
from retrograde.grading.tokens import Kind, Token, tokenize

MAX_DEPTH = 40
MAX_TOKENS = 1_500
_RELATIONS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!="}
_CLOSERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_END = Token(Kind.SIGN, "")


def parse(text: str) -> Expression:
    """The expression in `text` (normalised). Raises UnreadableError or CostError."""
    tokens = _without_words(tokenize(text))
    if len(tokens) > MAX_TOKENS:
        raise CostError(f"answer of {len(tokens)} tokens; at most {MAX_TOKENS} are read")
    return _Parser(tokens).whole()


def _without_words(tokens: list[Token]) -> list[Token]:
    """The one stretch between words that holds a number or name, without what the words carried (`^2`, `/`)."""
    stretches: list[list[Token]] = [[]]
    after_word = False
    for index, token in enumerate(tokens):
        if token.kind is Kind.WORD and token.text in {"and", "or"} and stretches[-1]:
            stretches[-1].append(Token(Kind.SIGN, ","))
        elif token.kind is Kind.WORD:
            stretches.append([])
        elif not (after_word and _belongs_to_word(tokens, index)):
            stretches[-1].append(token)
            after_word = False
            continue
        after_word = True
    if len(stretches) == 1:
        return stretches[0]
    kept = [_trimmed(stretch) for stretch in stretches if any(token.kind is Kind.NUMBER for token in stretch)]
    if len(kept) != 1:
        raise UnreadableError("no single number among words" if kept else "words")
    return kept[0]


def _belongs_to_word(tokens: list[Token], index: int) -> bool:
    """Whether the token continues a unit: the "^2" of "cm^2", the "/" and "s" of "cm/s", a full stop."""
    token, before = tokens[index], tokens[index - 1]
    return (
        token.text in {"^", ".", "'", '"', ":", ";", "!", "?"}
        or before.text == "^"
        or (token.text == "/" and before.kind is Kind.WORD)
    )


def _trimmed(stretch: list[Token]) -> list[Token]:
    """Without the punctuation, and the slash of a unit, at either end."""
    while stretch and stretch[-1].text in {",", ".", ";", ":", "/", "'", '"', "?", "*", "="}:
        stretch = stretch[:-1]
    while stretch and stretch[0].text in {",", ".", ";", ":", "'", '"', "=", "*", "?"}:
        stretch = stretch[1:]
    return stretch


class _Parser:
    """One pass over the tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        """The expression all tokens make; commas outside brackets make a bare list."""
        if not self._tokens:
            raise UnreadableError("nothing to read")
        items = self._items(_END)
        if self._next < len(self._tokens):
            raise UnreadableError(f"did not expect {self._peek().text!r}")
        return items[0] if len(items) == 1 else Collection(",", tuple(items))

    def _peek(self, ahead: int = 0) -> Token:
        index = self._next + ahead
        return self._tokens[index] if index < len(self._tokens) else _END

    def _take(self, text: str = "") -> Token:
        token = self._peek()
        if token is _END or (text and token.text != text):
            raise UnreadableError(f"expected {text or 'more'!r}, found {token.text or 'the end'!r}")
        self._next += 1
        return token

    def _is_sign(self, *texts: str) -> bool:
        return self._peek().kind is Kind.SIGN and self._peek().text in texts

    def _is_command(self, *texts: str) -> bool:
        return self._peek().kind is Kind.COMMAND and self._peek().text in texts

    def _items(self, _closer: Token) -> list[Expression]:
        """Relations between commas or semicolons."""
        items = [self._union()]
        while self._is_sign(",", ";"):
            self._take()
            items.append(self._union())
        return items

    def _union(self) -> Expression:
        parts = [self._relation()]
        while self._is_command("cup"):
            self._take()
            parts.append(self._relation())
        return parts[0] if len(parts) == 1 else Collection("cup", tuple(parts))

    def _relation(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CostError(f"nested more than {MAX_DEPTH} deep")
        sides, signs = [self._sum()], list[str]()
        while self._peek().kind in {Kind.SIGN, Kind.COMMAND} and self._peek().text in _RELATIONS:
            signs.append(_RELATIONS[self._take().text])
            sides.append(self._sum())
        self._depth -= 1
        return Relation(tuple(sides), tuple(signs)) if signs else sides[0]

    def _sum(self) -> Expression:
        terms = [self._product()]
        while self._is_sign("+", "-") or self._is_command("pm"):
            sign = self._take().text
            term = self._product()
            terms.append(term if sign == "+" else Apply("neg" if sign == "-" else "pm", (term,)))
        return terms[0] if len(terms) == 1 else Apply("add", tuple(terms))

    def _product(self) -> Expression:
        product = self._power()
        while True:
            if self._is_sign("*", "/"):
                operation = "mul" if self._take().text == "*" else "div"
                product = Apply(operation, (product, self._power()))
            elif self._starts_atom():
                product = self._beside(product)
            else:
                return product

    def _beside(self, left: Expression) -> Expression:
        """What stands side by side: a mixed number, else a product."""
        is_digits = self._peek().kind is Kind.NUMBER
        slash = is_digits and self._peek(1).text == "/" and self._peek(2).kind is Kind.NUMBER
        if is_digits and not slash:
            raise UnreadableError(f"two numbers side by side, the second {self._peek().text!r}")
        right = self._power()
        if slash:
            self._take("/")
            right = Apply("div", (right, self._atom()))
        mixed = _mixed(left, right)
        if slash and mixed is None:
            raise UnreadableError("two numbers side by side")
        return mixed or Apply("mul", (left, right))

    def _power(self) -> Expression:
        if self._is_sign("+"):
            self._take()
            return self._deeper(self._power)
        if self._is_sign("-") or self._is_command("pm"):
            operation = "neg" if self._take().text == "-" else "pm"
            return Apply(operation, (self._deeper(self._power),))
        base = self._postfix(self._atom())
        if self._is_sign("^"):
            self._take()
            return self._postfix(Apply("pow", (base, self._deeper(self._argument))))
        return base

    def _deeper(self, read: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CostError(f"nested more than {MAX_DEPTH} deep")
        expression = read()
        self._depth -= 1
        return expression

    def _postfix(self, expression: Expression) -> Expression:
        while self._is_sign("!", "%"):
            if self._take().text == "!":
                expression = Apply("factorial", (expression,))
            elif isinstance(expression, Number):
                expression = Number(expression.value, expression.places, percent=True)
            else:
                expression = Apply("div", (expression, Number(Fraction(100))))
        return expression

    def _starts_atom(self) -> bool:
        token = self._peek()
        if token.kind is Kind.COMMAND:
            return token.text in {"frac", "sqrt", "binom"}
        return token.kind in {Kind.NUMBER, Kind.NAME, Kind.FUNCTION} or (
            token.kind is Kind.SIGN and token.text in {"(", "{", "["} and token is not _END
        )

    def _atom(self) -> Expression:
        token = self._take()
        match token.kind:
            case Kind.NUMBER:
                return _number(token.text)
            case Kind.NAME:
                return self._name(token.text)
            case Kind.FUNCTION:
                return self._function(token.text)
            case Kind.COMMAND:
                return self._command(token.text)
            case _:
                return self._bracket(token.text)

    def _name(self, name: str) -> Expression:
        if not self._is_sign("_"):
            return Symbol(name)
        self._take()
        return Symbol(f"{name}_{_spelling(self._deeper(self._argument))}")

    def _command(self, command: str) -> Expression:
        if command in {"frac", "binom"}:
            operation = "div" if command == "frac" else "binom"
            return Apply(operation, (self._deeper(self._argument), self._deeper(self._argument)))
        if command == "sqrt":
            degree: Expression = Number(Fraction(2))
            if self._is_sign("["):
                self._take()
                degree = self._relation()
                self._take("]")
            return Apply("root", (self._deeper(self._argument), degree))
        if command.islower() and command in _GREEK:
            return self._name(command)
        raise UnreadableError(f"command \\{command}")

    def _function(self, function: str) -> Expression:
        degree: Expression | None = None
        base: Expression | None = None
        while self._is_sign("^", "_"):
            if self._take().text == "^":
                degree = self._deeper(self._argument)
            else:
                base = self._deeper(self._argument)
        argument = self._deeper(self._operand)
        applied = Apply(function, (argument,) if base is None else (argument, base))
        return applied if degree is None else Apply("pow", (applied, degree))

    def _operand(self) -> Expression:
        """What a function is applied to: brackets, or the factors that follow ("sin 2x")."""
        product = self._power()
        while self._peek().kind is Kind.NAME or self._is_command("frac", "sqrt"):
            product = Apply("mul", (product, self._power()))
        return product

    def _argument(self) -> Expression:
        r"""A LaTeX argument: a group, or one digit or name ("\frac12"); after ^ also a signed number."""
        token = self._peek()
        if token.kind is Kind.NUMBER and self._next and self._tokens[self._next - 1].text not in {"^", "_"}:
            return self._digit()
        if token.text == "-":
            self._take()
            return Apply("neg", (self._deeper(self._argument),))
        return self._atom()

    def _digit(self) -> Expression:
        """The first digit of a number; the rest of it stays to be read."""
        token = self._take()
        if len(token.text) > 1 and token.text.isdigit():
            self._next -= 1
            self._tokens[self._next] = Token(Kind.NUMBER, token.text[1:])
            return _number(token.text[0])
        return _number(token.text)

    def _bracket(self, opener: str) -> Expression:
        if opener == "|":
            inner = self._relation()
            self._take("|")
            return Apply("abs", (inner,))
        if opener not in _CLOSERS:
            raise UnreadableError(f"did not expect {opener!r}")
        if opener == "\\{" and self._is_sign("\\}"):
            self._take()
            return Collection("{}", ())
        items = self._items(_END)
        closer = self._take().text
        if closer != _CLOSERS[opener] and not (opener in "([" and closer in {")", "]"}):
            raise UnreadableError(f"{opener!r} closed by {closer!r}")
        if opener == "\\{" or (opener == "{" and len(items) > 1):
            return Collection("{}", tuple(items))
        return items[0] if len(items) == 1 else Collection(opener + closer, tuple(items))


_GREEK = frozenset("alpha beta gamma delta theta lambda mu sigma phi omega rho tau epsilon".split())  # noqa: SIM905


def _number(text: str) -> Number:
    digits = text.lower().partition("e")[0]
    _, point, decimals = digits.partition(".")
    return Number(Fraction(text), len(decimals) if point else None)


def _mixed(whole: Expression, part: Expression) -> Number | None:
    """`3` beside `1/2` is 3.5 where both are written in digits and the fraction is proper."""
    match whole, part:
        case Number(value, None), Apply("div", (Number(top, None), Number(bottom, None))) if top < bottom:
            return Number(value + top / bottom)
        case _:
            return None


def _spelling(expression: Expression) -> str:
    """A subscript as text."""
    match expression:
        case Number(value):
            return str(value)
        case Symbol(name):
            return name
        case _:
            raise UnreadableError("subscript")
