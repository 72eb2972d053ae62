"""A file into an S3 store in parts, a few at a time: memory stays the same however long the file is.

    begin -> parts, each with its CRC-32C, which the server checks -> complete; on a fault: abort

The object appears when it is complete. An upload whose process was killed is no object; `half_uploads` finds it.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET  # the server is ours to trust

import crc32c

from retrograde.runtime.adapters.s3_client import CHECKSUM, WITH_CHECKSUM, S3Client, encoded
from retrograde.runtime.adapters.s3_refusals import RefusedError, refusal
from retrograde.runtime.adapters.s3_signer import Request
from retrograde.runtime.adapters.s3_transfers import Transfers
from retrograde.runtime.errors import InvalidInputError, RetrogradeError

_MAX_PARTS = 10_000


class Part(NamedTuple):
    """A part that is stored; `tag` is the server's name for its content."""

    number: int
    tag: str
    crc: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way to `key`."""

    client: S3Client
    transfers: Transfers
    key: str
    path: Path

    def run(self) -> None:
        """Stores the file. Raises as S3Client.ask does, and OSError when the file cannot be read."""
        num_bytes = self.path.stat().st_size
        part_bytes = max(self.client.settings.part_bytes, -(-num_bytes // _MAX_PARTS))
        if num_bytes <= part_bytes:
            self._put(0, num_bytes, {})
        else:
            self._in_parts([(start, min(part_bytes, num_bytes - start)) for start in range(0, num_bytes, part_bytes)])

    def _in_parts(self, places: Sequence[tuple[int, int]]) -> None:
        begin = Request("POST", self.key, {"uploads": ""}, {"x-amz-checksum-algorithm": "CRC32C"})
        begun = ET.fromstring(self.client.ask(begin).data)  # noqa: S314 - as above
        upload_id = begun.findtext("{*}UploadId", "")

        def send(number: int) -> Part:
            tag, crc = self._put(*places[number - 1], {"partNumber": str(number), "uploadId": upload_id})
            return Part(number, tag, crc)

        try:
            self._complete(upload_id, self.transfers.each(send, range(1, len(places) + 1)))
        except BaseException:
            abort(self.client, self.key, upload_id)
            raise

    def _put(self, start: int, num_bytes: int, query: dict[str, str]) -> tuple[str, int]:
        """(tag, CRC) of what is now stored."""
        with self.transfers.seat:
            data = _read(self.path, start, num_bytes)
            crc = crc32c.crc32c(data)
            request = Request("PUT", self.key, query, {CHECKSUM: encoded(crc)}, data)
            return self.client.ask(request).headers["etag"], crc

    def _complete(self, upload_id: str, parts: Sequence[Part]) -> None:
        request = Request("POST", self.key, {"uploadId": upload_id}, body=_manifest(parts))
        try:
            self.client.attempt(request)
        except RefusedError as error:
            if error.code != "NoSuchUpload" or not self._is_there(parts):
                raise refusal(self.client.settings, self.key, error) from error

    def _is_there(self, parts: Sequence[Part]) -> bool:
        """Whether the object is of these parts: it was completed, and only the answer was lost."""
        crcs = b"".join(part.crc.to_bytes(4, "big") for part in parts)
        head = self.client.ask(Request("HEAD", self.key, headers=WITH_CHECKSUM)).headers
        return head.get(CHECKSUM) == f"{encoded(crc32c.crc32c(crcs))}-{len(parts)}"


def abort(client: S3Client, key: str, upload_id: str) -> None:
    """Forgets an upload and its parts; one that is not there is fine, and so is a server that is away."""
    try:
        client.attempt(Request("DELETE", key, {"uploadId": upload_id}))
    except (RefusedError, RetrogradeError):
        return


def _read(path: Path, start: int, num_bytes: int) -> memoryview:
    """A part of the file, in memory that goes back to the system with it: an allocator keeps some for each thread."""
    data = memoryview(mmap.mmap(-1, num_bytes) if num_bytes else bytearray())
    with path.open("rb") as file:
        file.seek(start)
        if file.readinto(data) < num_bytes:
            raise InvalidInputError(f"{path}: was made shorter while it was stored; store it again")
    return data


def _manifest(parts: Sequence[Part]) -> bytes:
    listed = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>{part.tag}</ETag>"
        f"<ChecksumCRC32C>{encoded(part.crc)}</ChecksumCRC32C></Part>"
        for part in parts
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
