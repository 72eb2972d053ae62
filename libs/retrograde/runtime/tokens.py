"""Tokens of the public doors: a file says whose they are, and holds only their SHA-256.

    # tokens.yaml, read again when it changes
    alice: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

A caller sends `authorization: Bearer TOKEN`. Tokens are long and random, so a plain digest of them tells nothing;
digests are compared in constant time, with all of them, whichever fits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

import yaml

from retrograde.runtime.errors import InvalidInputError, UnauthenticatedError
from retrograde.runtime.followed import Followed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SCHEME = "bearer "


class Tokens:
    """Those of one file. Raises InvalidInputError, naming the file and the entry, when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._digests = Followed([path], lambda: _read(path))

    def owner(self, authorization: str) -> str:
        """Whose token the header brings. Raises UnauthenticatedError for none or one that nobody has."""
        if not authorization.lower().startswith(_SCHEME):
            raise UnauthenticatedError("authorization: missing; send `authorization: Bearer TOKEN`")
        token = authorization[len(_SCHEME) :].strip().encode()
        shown = hashlib.sha256(token).hexdigest()
        owners = [name for name, digest in self._digests.current().items() if hmac.compare_digest(digest, shown)]
        if not owners:
            raise UnauthenticatedError("authorization: nobody has this token; ask for one, or correct it")
        return owners[0]


def _read(path: Path) -> Mapping[str, str]:
    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InvalidInputError(f"tokens: {path}: {error.strerror}; name a file that can be read") from error
    except yaml.YAMLError as error:
        raise InvalidInputError(f"tokens: {path}: no YAML; write a line `NAME: SHA256` for each token") from error
    if not isinstance(document, dict):
        raise InvalidInputError(f"tokens: {path}: no mapping; write a line `NAME: SHA256` for each token")
    wrong = [str(name) for name, digest in document.items() if not _DIGEST.fullmatch(str(digest))]
    if wrong:
        raise InvalidInputError(f"tokens: {path}: {', '.join(wrong)}: write the token's SHA-256, 64 digits of 0-9a-f")
    return {str(name): str(digest) for name, digest in document.items()}
