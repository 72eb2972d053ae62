"""What an S3 server refuses, as the errors of the platform: which field is wrong, and what to do.

TransientError   try again soon: the network, a busy server, bytes damaged on the way, no keys to sign with
RefusedError     an answer of the server that says no; `refusal` turns it into an error for the caller
"""

from __future__ import annotations

import http
import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET  # the server is ours to trust

from retrograde.runtime.adapters.s3_settings import S3Settings
from retrograde.runtime.errors import InvalidInputError, NotFoundError, RetrogradeError, UnavailableError

_BUSY = {"SlowDown", "SlowDownRead", "SlowDownWrite", "RequestTimeout", "InternalError", "ServiceUnavailable"}
_DAMAGED = {"XAmzContentChecksumMismatch", "BadDigest", "InvalidDigest", "IncompleteBody", "ContentSHA256Mismatch"}
_FULL = {"XMinioStorageFull", "XMinioStorageQuotaExceeded", "QuotaExceeded"}
_SKEWED = "RequestTimeTooSkewed"
_SESSION = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}  # 400, and about keys all the same
_NO_REASON = "NoReason"  # a HEAD that is refused with 400: perhaps the session, perhaps the key
_NO_BODY = {
    http.HTTPStatus.FORBIDDEN: "AccessDenied",
    http.HTTPStatus.NOT_FOUND: "NoSuchKey",
    http.HTTPStatus.PRECONDITION_FAILED: "PreconditionFailed",
}


class TransientError(Exception):
    """Trying again may help; `final` is raised when it did not."""

    def __init__(self, final: RetrogradeError) -> None:
        super().__init__(str(final))
        self.final = final


class RefusedError(Exception):
    """The server said no; `code` is S3's name for why."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"{message or code} ({status} {code})")
        self.status = status
        self.code = code
        self.date = headers.get("date", "")

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed in a moment."""
        gone_wrong = self.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR and self.code not in {
            *_FULL,
            "NotImplemented",
        }
        return gone_wrong or self.code in _BUSY | _DAMAGED or self.status == http.HTTPStatus.TOO_MANY_REQUESTS

    @property
    def is_about_keys(self) -> bool:
        """Whether other keys may be let in."""
        return self.code in _SESSION or (self.status == http.HTTPStatus.FORBIDDEN and not self.is_about_time)

    @property
    def may_be_session(self) -> bool:
        """Whether other keys of the same account may be let in."""
        return self.code in {*_SESSION, _NO_REASON}

    @property
    def is_about_time(self) -> bool:
        """Whether the clocks differ too much."""
        return self.code == _SKEWED


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> RefusedError:
    """The refusal in an answer that is none of success."""
    code, message = _NO_BODY.get(http.HTTPStatus(status), str(status)), body[:200].decode(errors="replace")
    if status == http.HTTPStatus.BAD_REQUEST and not body:
        code = _NO_REASON
    if body.lstrip().startswith(b"<") and b"<Error>" in body:
        root = ET.fromstring(body)  # noqa: S314 - as above
        code, message = root.findtext("Code", code), root.findtext("Message", "")
    return RefusedError(status, code, re.sub(r"\s+", " ", message).strip(), headers)


def refusal(settings: S3Settings, key: str, refused: RefusedError, *, is_opening: bool = False) -> RetrogradeError:
    """The error that tells the caller what is wrong and what to do about it.

    Keys or a bucket that were good when the store was opened are not the fault of whatever is being handled.
    """
    wrong = InvalidInputError if is_opening else UnavailableError
    where = f"s3://{settings.bucket}/{settings.prefix}{key} at {settings.endpoint}"
    if refused.code == "NoSuchKey":
        return NotFoundError(f"no object {key!r}: {where}")
    if refused.code == "NoSuchBucket":
        return wrong(f"store: {where}: no bucket {settings.bucket!r}; create it, or correct the URL")
    if refused.is_about_keys:
        return wrong(f"store: {_about_keys(settings, refused.code)}: {where}")
    if (advice := _passing_advice(refused)) is not None:
        return UnavailableError(f"store: {where}: {refused}; {advice}")
    return InvalidInputError(f"store: {where}: {refused}; correct the URL or the key")


def _about_keys(settings: S3Settings, code: str) -> str:
    if settings.key_files is None and code in _SESSION:
        return f"identity=account: refused ({code}), new keys too; see whether the store takes this cloud's keys"
    if settings.key_files is None:
        return f"identity=account: refused ({code}); the role needs to read, write, list and delete there"
    access_key_file, secret_key_file = settings.key_files
    match code:
        case "InvalidAccessKeyId":
            return f"access_key_file {access_key_file}: the server knows no such key; write one of its users' in"
        case "SignatureDoesNotMatch":
            return (
                f"secret_key_file {secret_key_file}: not the secret of the key in {access_key_file}; write the right "
                "one in"
            )
        case _:
            return (
                f"access_key_file {access_key_file}: refused ({code}); check both key files, and that this "
                "user may read, write, list and delete"
            )


def _passing_advice(refused: RefusedError) -> str | None:
    """What to do about something that is not the fault of the request; None if it is."""
    if refused.is_about_time:
        return "set the clocks"
    if refused.code in _FULL:
        return "free some space there"
    return "asked again in vain: look at the server" if refused.is_passing else None
