"""An object of an S3 store into a file, its parts a few at a time: memory stays the same however long it is.

Each part is checked against its CRC-32C and written where it belongs. All are of one object: when another takes its
place meanwhile, the download begins again.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import crc32c

from retrograde.runtime.adapters.s3_client import WITH_CHECKSUM, Receive, S3Client
from retrograde.runtime.adapters.s3_connections import CutError, cuts_named
from retrograde.runtime.adapters.s3_refusals import RefusedError, refusal
from retrograde.runtime.adapters.s3_signer import Request
from retrograde.runtime.adapters.s3_transfers import Transfers
from retrograde.runtime.errors import UnavailableError

_CHUNK_BYTES = 1 << 20
_MAX_REPLACED = 5
_TAG_OF_PARTS = re.compile(r'"[0-9a-f]+-(\d+)"')
_REPLACED = {"PreconditionFailed", "InvalidPartNumber"}


def download(client: S3Client, transfers: Transfers, key: str, path: Path) -> None:
    """Writes the object to `path`. Raises as S3Client.ask does, and OSError when the file cannot be written."""

    def fetch(request: Request) -> None:
        with transfers.seat:
            client.attempt(request, _into(path))

    for _ in range(_MAX_REPLACED):
        requests = parts_of(client, key)
        path.write_bytes(b"")
        try:
            transfers.each(fetch, requests)
        except RefusedError as error:
            if error.code not in _REPLACED:
                raise refusal(client.settings, key, error) from error
        else:
            return
    raise UnavailableError(f"store: {key!r} was replaced {_MAX_REPLACED} times while it was read; read it later")


def parts_of(client: S3Client, key: str) -> list[Request]:
    """What to ask for to have the object as it is now, part by part."""
    tag = client.ask(Request("HEAD", key)).headers["etag"]
    headers = {**WITH_CHECKSUM, "If-Match": tag}
    match = _TAG_OF_PARTS.fullmatch(tag)
    if match is None:
        return [Request("GET", key, headers=headers)]
    return [Request("GET", key, {"partNumber": str(number)}, headers) for number in range(1, int(match[1]) + 1)]


def _into(path: Path) -> Receive:
    """Writes an answer's body where it belongs in the file at `path`."""

    def receive(response: http.client.HTTPResponse, headers: Mapping[str, str]) -> tuple[bytes, int]:
        crc, left = 0, int(headers["content-length"])
        with path.open("r+b") as file:
            file.seek(_start(headers))
            for chunk in _chunks(response):
                crc = crc32c.crc32c(chunk, crc)
                file.write(chunk)
                left -= len(chunk)
        if left:
            raise CutError(f"{left} bytes are missing at the end of the answer")
        return b"", crc

    return receive


def _chunks(response: http.client.HTTPResponse) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while True:
        with cuts_named():
            count = response.readinto(buffer)
        if not count:
            return
        yield buffer[:count]


def _start(headers: Mapping[str, str]) -> int:
    """Where the body begins in the object: "bytes 5242880-10485759/10486760"."""
    return int(headers["content-range"].split(" ")[1].split("-")[0]) if "content-range" in headers else 0
