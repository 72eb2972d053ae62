"""What an S3 server tells in XML: pages of keys, uploads that were begun, single fields."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET  # the server is ours to trust

from retrograde.runtime.adapters.s3_client import S3Client
from retrograde.runtime.adapters.s3_signer import Request
from retrograde.runtime.adapters.s3_upload import abort
from retrograde.runtime.objects import HalfUpload, Listed


def keys(client: S3Client, prefix: str) -> Iterator[Listed]:
    """Objects of the bucket whose whole key begins with `prefix`, in order; a page is asked for when it is needed."""
    query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
    while True:
        page = ET.fromstring(client.ask(Request("GET", query=query)).data)  # noqa: S314 - as above
        for entry in page.iterfind("{*}Contents"):
            yield Listed(unquote_plus(entry.findtext("{*}Key", "")), int(entry.findtext("{*}Size", "0")))
        token = page.findtext("{*}NextContinuationToken", "")
        if page.findtext("{*}IsTruncated") != "true" or not token:
            return
        query["continuation-token"] = token


def half_uploads(client: S3Client, prefix: str) -> Iterator[HalfUpload]:
    """Uploads of keys that begin with `prefix` that were neither completed nor aborted.

    The server is asked for all: MinIO takes a prefix for a whole key.
    """
    query = {"uploads": "", "encoding-type": "url"}
    while True:
        page = ET.fromstring(client.ask(Request("GET", query=query)).data)  # noqa: S314 - as above
        for entry in page.iterfind("{*}Upload"):
            key = unquote_plus(entry.findtext("{*}Key", ""))
            if key.startswith(prefix):
                begun = datetime.fromisoformat(entry.findtext("{*}Initiated", ""))
                forget = functools.partial(abort, client, key, entry.findtext("{*}UploadId", ""))
                yield HalfUpload(key, begun.timestamp(), forget)
        if page.findtext("{*}IsTruncated") != "true":
            return
        query["key-marker"] = unquote_plus(page.findtext("{*}NextKeyMarker", ""))
        query["upload-id-marker"] = page.findtext("{*}NextUploadIdMarker", "")
