"""What an S3 server refuses becomes the platform's error that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrograde.runtime.adapters.s3_refusals import read_refusal, refusal
from retrograde.runtime.adapters.s3_settings import S3Settings
from retrograde.runtime.errors import UnavailableError

SETTINGS = S3Settings("trees", "http://127.0.0.1:9000", (Path("/a"), Path("/s")))


def answer(code: str, message: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def test_a_full_server_is_said_in_its_words_at_once() -> None:
    """A full disk is UnavailableError with what the server says; it is not asked again in the same call."""
    refused = read_refusal(507, {}, answer("XMinioStorageFull", "Storage backend has reached its minimum free drive."))
    assert not refused.is_passing
    error = refusal(SETTINGS, "k", refused)
    assert isinstance(error, UnavailableError)
    assert str(error) == (
        "store: s3://trees/k at http://127.0.0.1:9000: Storage backend has reached its minimum free drive. "
        "(507 XMinioStorageFull); free some space there"
    )


def test_a_role_that_may_not_is_said() -> None:
    """Where there are no key files the role is what has to be mended."""
    settings = S3Settings("trees", "http://127.0.0.1:9000", None)
    error = refusal(settings, "k", read_refusal(403, {}, answer("AccessDenied", "")))
    assert "identity=account: refused (AccessDenied); the role needs to read, write, list and delete" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "passes"),
    [
        (503, "SlowDown", True),
        (429, "TooManyRequests", True),
        (400, "RequestTimeout", True),
        (400, "XAmzContentChecksumMismatch", True),
        (500, "InternalError", True),
        (501, "NotImplemented", False),
        (400, "EntityTooLarge", False),
        (403, "AccessDenied", False),
        (404, "NoSuchKey", False),
    ],
)
def test_what_may_pass_is_asked_again(status: int, code: str, *, passes: bool) -> None:
    """A busy server and bytes damaged on the way pass; what is wrong with the request does not."""
    assert read_refusal(status, {}, answer(code, "")).is_passing == passes
