"""The ObjectStore port on S3, as MinIO and others offer it; the parts are in the s3_ modules beside this one.

    s3_settings   the URL                      s3_upload, s3_download   files in parts
    s3_keys       files, or an account         s3_answers               pages of keys
    s3_signer     signature, clock             s3_client                a request, until it is answered

A key of the port is a key of the bucket behind the URL's prefix. What is put is durable and visible whole when the
server says so; bytes are checked against a CRC-32C by the server on their way in and by us on their way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retrograde.runtime.adapters import manifest, s3_answers
from retrograde.runtime.adapters.keys import check_key
from retrograde.runtime.adapters.local_disk import space_named
from retrograde.runtime.adapters.s3_client import CHECKSUM, WITH_CHECKSUM, S3Client, checksum
from retrograde.runtime.adapters.s3_download import download, parts_of
from retrograde.runtime.adapters.s3_refusals import RefusedError, refusal
from retrograde.runtime.adapters.s3_settings import DEFAULT_REGION, S3Settings
from retrograde.runtime.adapters.s3_signer import Request
from retrograde.runtime.adapters.s3_transfers import Transfers
from retrograde.runtime.adapters.s3_upload import Upload
from retrograde.runtime.errors import NotFoundError
from retrograde.runtime.objects import HalfUpload, Listed

_OURS_ALREADY = "BucketAlreadyOwnedByYou"


class S3Store:
    """Objects of one bucket, which is made when missing and the keys may do so. Safe to use from any thread.

    Raises what S3Client.ask raises, in each call.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._client = S3Client(settings)
        self._transfers = Transfers(settings.num_transfers)
        self._make_bucket()

    def put(self, key: str, data: bytes) -> None:
        """Durable and visible whole when it returns."""
        check_key(key)
        self._client.ask(Request("PUT", key, headers={CHECKSUM: checksum(data)}, body=data))

    def put_file(self, key: str, path: Path) -> None:
        """Stores the file at `path`, without holding it in memory."""
        check_key(key)
        with space_named(path):
            Upload(self._client, self._transfers, key, path).run()

    def get(self, key: str) -> bytes:
        """The object's bytes."""
        check_key(key)
        reply = self._client.ask(Request("GET", key, headers=WITH_CHECKSUM))
        if "-" not in reply.headers.get(CHECKSUM, ""):
            return reply.data
        return b"".join(self._client.ask(part).data for part in parts_of(self._client, key))

    def get_file(self, key: str, path: Path) -> None:
        """Writes the object to `path`."""
        check_key(key)
        with space_named(path):
            download(self._client, self._transfers, key, path)

    def exists(self, key: str) -> bool:
        """Whether `key` is there."""
        check_key(key)
        try:
            self._client.ask(Request("HEAD", key))
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, sorted by their UTF-8 bytes; a page at a time."""
        return (listed.key for listed in self.sizes(prefix))

    def sizes(self, prefix: str) -> Iterator[Listed]:
        """As `list`, with the bytes of each."""
        ours = self._settings.prefix
        for listed in s3_answers.keys(self._client, ours + prefix):
            yield Listed(listed.key.removeprefix(ours), listed.num_bytes)

    def delete(self, key: str) -> None:
        """Deletes `key`; a missing key is fine."""
        check_key(key)
        self._client.ask(Request("DELETE", key))

    def upload(self, prefix: str, folder: Path) -> None:
        """Stores the files of `folder` under `prefix` and then the manifest."""
        manifest.upload(self, prefix, folder, self._transfers.each)

    def download(self, prefix: str, folder: Path) -> None:
        """Brings back what `upload` stored, checksums verified."""
        with space_named(folder):
            manifest.download(self, prefix, folder, self._transfers.each)

    def half_uploads(self, prefix: str) -> Iterator[HalfUpload]:
        """Uploads below `prefix` that their processes left unfinished, as far as the server tells."""
        ours = self._settings.prefix
        for half in s3_answers.half_uploads(self._client, ours + prefix):
            yield half._replace(key=half.key.removeprefix(ours))

    def _make_bucket(self) -> None:
        """Makes the bucket unless it is there. Raises InvalidInputError when it may not."""
        try:
            self._client.attempt(
                Request("GET", query={"list-type": "2", "max-keys": "1", "prefix": self._settings.prefix})
            )
        except RefusedError as error:
            if error.code != "NoSuchBucket":
                raise refusal(self._settings, "", error, is_opening=True) from error
            self._create()

    def _create(self) -> None:
        region = self._settings.region
        place = f"<LocationConstraint>{region}</LocationConstraint>" if region != DEFAULT_REGION else ""
        body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>".encode() if place else b""
        try:
            self._client.attempt(Request("PUT", body=body))
        except RefusedError as error:
            if error.code != _OURS_ALREADY:
                raise refusal(self._settings, "", error, is_opening=True) from error
