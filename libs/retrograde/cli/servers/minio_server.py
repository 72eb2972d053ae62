"""A real MinIO server on one folder and on loopback, with credentials of its own in files."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrograde.cli.servers.local_server import HOST, LocalServer
from retrograde.cli.servers.obtain import minio_binary

_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class MinioSecurity:
    """PEM files of a server that speaks TLS."""

    key: Path
    certificate: Path
    authority: Path


class MinioServer(LocalServer):
    """The server whose data, credentials and log lie in `folder`. Raises NotFoundError when it was not obtained."""

    name = "minio"

    def __init__(self, folder: Path, security: MinioSecurity | None = None) -> None:
        self.security = security
        self._binary = minio_binary()
        super().__init__(folder)
        for file in (self.access_key_file, self.secret_key_file):
            if not file.exists():
                file.touch(mode=0o600)
                file.write_text(secrets.token_hex(16), encoding="utf-8")

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http{'s' if self.security else ''}://{HOST}:{self.ports[0]}"

    @property
    def access_key_file(self) -> Path:
        """Holds the name of its only user."""
        return self.folder / "access_key"

    @property
    def secret_key_file(self) -> Path:
        """Holds that user's password."""
        return self.folder / "secret_key"

    @property
    def data(self) -> Path:
        """Where it keeps the objects."""
        return self.folder / "data"

    def url(self, bucket: str = "retrograde", prefix: str = "") -> str:
        """The URL of a store in it."""
        location = f"s3://{bucket}/{prefix}".rstrip("/")
        authority = f"&ca_file={self.security.authority}" if self.security else ""
        keys = f"access_key_file={self.access_key_file}&secret_key_file={self.secret_key_file}"
        return f"{location}?endpoint={self.endpoint}&{keys}{authority}"

    def prepare(self) -> None:
        """Lays certificates where it looks for them."""
        self.data.mkdir(exist_ok=True)
        certificates = self.folder / "certificates"
        certificates.mkdir(exist_ok=True)
        if self.security:
            shutil.copy(self.security.certificate, certificates / "public.crt")
            shutil.copy(self.security.key, certificates / "private.key")

    def command(self) -> Sequence[str]:
        """The server, without its console."""
        certificates = str(self.folder / "certificates")
        address = f"{HOST}:{self.ports[0]}"
        return [str(self._binary), "server", str(self.data), "--address", address, "--certs-dir", certificates]

    def environment(self) -> Mapping[str, str]:
        """Ours without settings of another MinIO, and its credentials."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MINIO_")}
        return ours | {
            "MINIO_ROOT_USER": self.access_key_file.read_text(encoding="utf-8"),
            "MINIO_ROOT_PASSWORD": self.secret_key_file.read_text(encoding="utf-8"),
            "MINIO_BROWSER": "off",
        }

    def answers(self) -> bool:
        """Whether it says that it can take writes."""
        connection = self._connection()
        try:
            connection.request("GET", "/minio/health/cluster")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.security is None:
            return http.client.HTTPConnection(HOST, self.ports[0], timeout=_ANSWER_SECONDS)
        context = ssl.create_default_context(cafile=self.security.authority)
        return http.client.HTTPSConnection(HOST, self.ports[0], timeout=_ANSWER_SECONDS, context=context)
