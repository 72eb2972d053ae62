"""Where a parser stands in its tokens, and how deep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from retrograde.grading.expression import CostError, UnreadableError
from retrograde.grading.tokens import Kind, Token

MAX_DEPTH = 40
END = Token(Kind.SIGN, "")
_Read = TypeVar("_Read")


class Cursor:
    """A position in a list of tokens."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = list(tokens)
        self._next = 0
        self._depth = 0

    def _peek(self, ahead: int = 0) -> Token:
        index = self._next + ahead
        return self._tokens[index] if 0 <= index < len(self._tokens) else END

    def _take(self, text: str = "") -> Token:
        token = self._peek()
        if token is END or (text and token.text != text):
            raise UnreadableError(f"expected {text or 'more'!r}, found {token.text or 'the end'!r}")
        self._next += 1
        return token

    def _is_sign(self, *texts: str) -> bool:
        return self._peek().kind is Kind.SIGN and self._peek().text in texts

    def _is_command(self, *texts: str) -> bool:
        return self._peek().kind is Kind.COMMAND and self._peek().text in texts

    def _took(self, *texts: str) -> bool:
        """Takes the next token if it is one of these signs or commands."""
        is_next = self._is_sign(*texts) or self._is_command(*texts)
        self._next += is_next
        return is_next

    def _deeper(self, read: Callable[[], _Read]) -> _Read:
        """Reads one level down. Raises CostError where that is too deep."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CostError(f"nested more than {MAX_DEPTH} deep")
        result = read()
        self._depth -= 1
        return result
