"""What an S3 server refuses becomes the platform's error that says what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from retrograde.runtime.adapters.s3_keys import KeyFiles
from retrograde.runtime.adapters.s3_refusals import read_refusal, refusal
from retrograde.runtime.adapters.s3_settings import S3Settings
from retrograde.runtime.errors import InvalidInputError, UnavailableError

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


def test_a_session_that_is_over_is_no_fault_of_the_work() -> None:
    """Keys that are refused with a 400 are about the account all the same, and not about what was asked for."""
    settings = S3Settings("trees", "http://127.0.0.1:9000", None)
    error = refusal(settings, "k", read_refusal(400, {}, answer("ExpiredToken", "")))
    assert isinstance(error, UnavailableError)
    assert "identity=account: refused (ExpiredToken), new keys too" in str(error)


def test_a_head_without_a_reason_stays_a_fault_of_the_request() -> None:
    """Where no keys help: S3 tells it of a key that is too long as of a session that is over."""
    refused = read_refusal(400, {}, b"")
    assert refused.may_be_session
    assert isinstance(refusal(SETTINGS, "k", refused), InvalidInputError)


def test_changed_key_files_serve_whoever_was_refused(tmp_path: Path) -> None:
    """Two threads are refused with the old keys: the second has others too, although the first has read them."""
    files = tmp_path / "access", tmp_path / "secret"
    for file in files:
        file.write_text("old")
    keys = KeyFiles(*files)
    old, refused = keys.current(datetime.now(UTC)), read_refusal(403, {}, answer("SignatureDoesNotMatch", ""))
    files[1].write_text("new")
    assert [keys.renew(old, refused) for _ in range(2)] == [True, True]


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
