"""The one exception tree of the platform.

    RetrogradeError
    ├── InvalidInputError      INVALID_ARGUMENT     a field is wrong: the message names it, its value and the fix
    ├── NotFoundError          NOT_FOUND            no object, run, feed or task of that name
    ├── ConflictError          ALREADY_EXISTS       the name is taken by something different
    ├── StalePolicyError       FAILED_PRECONDITION  the policy served is older than the caller accepts
    │   └── OtherPolicyError   FAILED_PRECONDITION  the policy that answered is not the one that was asked for
    ├── FencedError            ABORTED              another worker holds a newer epoch of this work
    ├── OverloadedError        RESOURCE_EXHAUSTED   the queue is full: try again later
    │   └── RateLimitedError   RESOURCE_EXHAUSTED   the caller calls more often than it may: try again then
    ├── UnauthenticatedError   UNAUTHENTICATED      the caller does not say who it is, or cannot show it
    ├── PermissionDeniedError  PERMISSION_DENIED    the caller may not call this
    ├── UnavailableError       UNAVAILABLE          a peer or the store does not answer: retry
    │   ├── NoAnswerError      UNAVAILABLE          the peer said nothing itself: it is away, or left in the midst
    │   └── ForbiddenError     UNAVAILABLE          a broker refuses this process a right: retry once it was granted
    └── DataLossError          DATA_LOSS            what is stored is not what was written: retrying does not help

Each class carries its gRPC code; one server interceptor answers with it and the client raises the same class.
"""

from __future__ import annotations

import grpc


class RetrogradeError(Exception):
    """Root of the tree; itself means an error nobody foresaw (INTERNAL)."""

    code = grpc.StatusCode.INTERNAL


class InvalidInputError(RetrogradeError):
    """A field is wrong."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(RetrogradeError):
    """No such thing."""

    code = grpc.StatusCode.NOT_FOUND


class ConflictError(RetrogradeError):
    """The name is taken by something different."""

    code = grpc.StatusCode.ALREADY_EXISTS


class StalePolicyError(RetrogradeError):
    """The policy served is older than the caller accepts."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class OtherPolicyError(StalePolicyError):
    """The policy that answered is not the one the caller's work began under; raised by the client."""


class FencedError(RetrogradeError):
    """Another worker holds a newer epoch of this work."""

    code = grpc.StatusCode.ABORTED


class OverloadedError(RetrogradeError):
    """The queue is full."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class RateLimitedError(OverloadedError):
    """The caller calls more often than it may; after `retry_seconds` it may again."""

    def __init__(self, message: str, retry_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class UnauthenticatedError(RetrogradeError):
    """The caller does not say who it is, or cannot show it."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(RetrogradeError):
    """The caller may not call this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class UnavailableError(RetrogradeError):
    """A peer or the store does not answer."""

    code = grpc.StatusCode.UNAVAILABLE


class NoAnswerError(UnavailableError):
    """The peer itself said nothing: what it sent last may not have come. Raised by the client."""


class ForbiddenError(UnavailableError):
    """A broker refuses this process a right. It ends a start; later it is waited for, as nobody's message is bad."""


class DataLossError(RetrogradeError):
    """What is stored is not what was written."""

    code = grpc.StatusCode.DATA_LOSS


_CLASSES: tuple[type[RetrogradeError], ...] = (*RetrogradeError.__subclasses__(), RetrogradeError)
BY_CODE: dict[grpc.StatusCode, type[RetrogradeError]] = {cls.code: cls for cls in _CLASSES}
