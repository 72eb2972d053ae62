"""Which keys a store takes: the same in every adapter, so that what one holds can be copied to another."""

from __future__ import annotations

from retrograde.runtime.errors import InvalidInputError

INCOMING = ".incoming"
"""Where a directory keeps what is half-written; no key begins with it."""
_MAX_KEY_BYTES = 1024
_MAX_PART_BYTES = 255


def check_key(key: str) -> None:
    """Raises InvalidInputError for a key that could leave a directory, or that a file system or S3 cannot hold."""
    parts = key.split("/")
    bad = (
        any(part in {"", ".", ".."} or len(part.encode()) > _MAX_PART_BYTES for part in parts)
        or parts[0] == INCOMING
        or len(key.encode()) > _MAX_KEY_BYTES
        or any(ord(char) < ord(" ") for char in key)
    )
    if bad:
        raise InvalidInputError(
            f"key {key!r}: write parts of at most {_MAX_PART_BYTES} bytes separated by single slashes, "
            f"none empty, '.', '..' or the store's own '{INCOMING}'"
        )
