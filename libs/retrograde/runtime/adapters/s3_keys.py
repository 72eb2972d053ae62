"""Where the keys that sign requests come from: two files, or the account of this process in its cloud.

A cloud tells a pod whose ServiceAccount has a role where to get keys, which hold for an hour or so:

    AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN     the token in that file is exchanged at AWS STS
    AWS_CONTAINER_CREDENTIALS_FULL_URI            asked of an agent on the node
"""

from __future__ import annotations

import functools
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET  # minio's, which reads what STS says

import urllib3
from minio.credentials import Credentials, IamAwsProvider

from retrograde.runtime.adapters.s3_refusals import RefusedError, TransientError
from retrograde.runtime.adapters.s3_settings import S3Settings
from retrograde.runtime.errors import InvalidInputError, UnavailableError

_VARIABLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_TIMEOUT_SECONDS = 10.0
_EARLY = timedelta(seconds=10)
_TROUBLE = (urllib3.exceptions.HTTPError, ET.ParseError, ValueError, KeyError, OSError)


class KeyFiles:
    """Keys as the files had them when they were read last."""

    def __init__(self, access_key_file: Path, secret_key_file: Path) -> None:
        self._access_key_file = access_key_file
        self._secret_key_file = secret_key_file
        self._keys = self._read()

    def current(self, _now: datetime) -> Credentials:
        """Those to sign with."""
        return self._keys

    def renew(self, keys: Credentials, _refused: RefusedError) -> bool:
        """Reads the files again; whether they have others than `keys`."""
        self._keys = self._read()
        return bool(self._keys != keys)

    def _read(self) -> Credentials:
        return Credentials(
            _key("access_key_file", self._access_key_file), _key("secret_key_file", self._secret_key_file)
        )


class Account:
    """Keys of this process's account, fetched again before they end. Raises InvalidInputError where it has no role."""

    def __init__(self, region: str, http: urllib3.PoolManager | None = None) -> None:
        if not any(os.environ.get(each) for each in _VARIABLES):
            raise InvalidInputError(
                f"store: identity=account: neither {' nor '.join(_VARIABLES)} is set, so this process has no role; "
                "give its ServiceAccount one, or name key files"
            )
        # Whoever needs keys asks again: urllib3 would log each time the URL, which has the token.
        pool = http or urllib3.PoolManager(timeout=_TIMEOUT_SECONDS, retries=False)
        self._provider = functools.partial(IamAwsProvider, region=region, http_client=pool)
        self._keys: Credentials | None = None
        self._lock = threading.Lock()
        self._num_failures = 0
        self._trouble = ""

    def current(self, now: datetime) -> Credentials:
        """Those to sign with at `now` of the store, which is who ends them.

        One thread asks for new ones; who waited for it shares what came of it. Raises TransientError, without the
        cause's text: it has the token.
        """
        num_failures = self._num_failures
        with self._lock:
            if self._keys is None or _ends(self._keys) < now + _EARLY:
                self._keys = self._ask(num_failures)
            return self._keys

    def renew(self, keys: Credentials, refused: RefusedError) -> bool:
        """Asks for others than `keys`, unless another thread has; whether there are, and may be let in.

        Raises TransientError as `current`.
        """
        if not refused.may_be_session:
            return False
        num_failures = self._num_failures
        with self._lock:
            if self._keys == keys:
                self._keys = None
                self._keys = self._ask(num_failures)
            return bool(self._keys != keys)

    def _ask(self, num_failures: int) -> Credentials:
        """New keys, unless asking for them has failed since there were `num_failures`."""
        if num_failures == self._num_failures:
            try:
                return self._provider().retrieve()
            except _TROUBLE as error:
                self._num_failures += 1
                self._trouble = type(error).__name__
        raise TransientError(
            UnavailableError(
                f"store: identity=account: no keys were given ({self._trouble}); see whether this account may take its "
                "role, and whether STS or the node's agent can be reached"
            )
        )


def keys_of(settings: S3Settings) -> KeyFiles | Account:
    """Where the store's keys come from. Raises InvalidInputError."""
    return KeyFiles(*settings.key_files) if settings.key_files else Account(settings.region)


def _ends(keys: Credentials) -> datetime:
    """When, with the zone that minio takes away."""
    return keys.expiration.replace(tzinfo=UTC) if keys.expiration else datetime.max.replace(tzinfo=UTC)


def _key(name: str, path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise InvalidInputError(f"store: {name} {path}: {reason}; name a file that holds the key alone") from error
    if not key or not key.isprintable() or " " in key:
        raise InvalidInputError(f"store: {name} {path}: holds no key; write the key alone into it, on one line")
    return key
