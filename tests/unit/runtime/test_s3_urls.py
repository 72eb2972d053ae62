"""An S3 store's URL says where it is, or is refused with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrograde.runtime.adapters import open_store
from retrograde.runtime.adapters.s3_settings import S3Settings, parse_s3_url
from retrograde.runtime.errors import InvalidInputError

QUERY = "endpoint=http://127.0.0.1:9000&access_key_file=/keys/access&secret_key_file=/keys/secret"


def test_a_whole_url() -> None:
    """Bucket, prefix and every parameter arrive in the settings."""
    url = f"s3://trees/team/a?{QUERY}&ca_file=/keys/ca.pem&region=eu-west-1".replace("http:", "https:")
    assert parse_s3_url(url) == S3Settings(
        bucket="trees",
        prefix="team/a/",
        endpoint="https://127.0.0.1:9000",
        key_files=(Path("/keys/access"), Path("/keys/secret")),
        ca_file=Path("/keys/ca.pem"),
        region="eu-west-1",
    )


@pytest.mark.parametrize("prefix", ["", "/", "/a", "/a/"])
def test_a_prefix_ends_in_one_slash(prefix: str) -> None:
    """However the URL ends, keys are put behind nothing or behind "a/"."""
    assert parse_s3_url(f"s3://trees{prefix}?{QUERY}").prefix == ("a/" if "a" in prefix else "")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://?" + QUERY, "bucket '' is none"),
        ("s3://UP?" + QUERY, "bucket 'UP' is none"),
        ("s3://trees", "parameter endpoint is missing"),
        ("s3://trees?endpoint=http://h:1&access_key_file=/a", "parameter secret_key_file is missing"),
        (f"s3://trees?{QUERY}&acess_key_file=/a", "'acess_key_file' is unknown; did you mean access_key_file?"),
        (f"s3://trees?{QUERY}&colour=red", "'colour' is unknown; known are endpoint, access_key_file"),
        (f"s3://trees?{QUERY}&identity=account", "access_key_file is given beside identity=account; leave one"),
        ("s3://trees?endpoint=http://h:1&identity=root", "identity 'root' is none: account, or leave it out"),
        (f"s3://trees?{QUERY}&region=", "parameter region is empty"),
        (f"s3://trees?{QUERY}&endpoint=http://h:1", "parameter endpoint is given twice"),
        (f"s3://trees/../x?{QUERY}", "prefix: key '../x'"),
        ("s3://trees?" + QUERY.replace("http://127.0.0.1:9000", "127.0.0.1:9000"), "is not http://HOST:PORT"),
        ("s3://trees?" + QUERY.replace("127.0.0.1:9000", "127.0.0.1"), "is not http://HOST:PORT"),
        ("s3://trees?" + QUERY.replace("9000", "x"), "is not http://HOST:PORT"),
        ("s3://trees?" + QUERY.replace("//127", "//me:secret@127"), "is not http://HOST:PORT"),
        ("s3://trees?" + QUERY.replace("/keys/access", "keys/access"), "access_key_file 'keys/access' is not an abs"),
    ],
)
def test_a_wrong_url_is_refused(url: str, reason: str) -> None:
    """What is wrong is named, with the form a URL has."""
    with pytest.raises(InvalidInputError, match="write s3://BUCKET") as refused:
        open_store(url)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"", "holds no key"), (b"two words", "holds no key"), (b"\xff", "no text")],
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A key file that is missing, empty, of several words or no text is named before anything is asked."""
    (tmp_path / "access").write_text("somebody")
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(InvalidInputError, match=f"secret_key_file {tmp_path}/secret: {reason}"):
        open_store(f"s3://trees?{QUERY}".replace("/keys", str(tmp_path)))
