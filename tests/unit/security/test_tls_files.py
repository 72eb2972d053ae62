"""An identity follows its files, and says what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.settings import ServiceSettings, load_settings
from retrograde.runtime.tls import Identity, TlsSettings
from tests.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> TlsSettings:
    return authority.issue(tmp_path / "tls", "DNS:search.retrograde")


def test_a_renewed_identity_is_taken_over_once(tmp_path: Path, authority: Authority, files: TlsSettings) -> None:
    """The same object is given until the files are replaced, and then another one with what they hold now."""
    identity = Identity.of(files)
    before = identity.current()
    assert identity.current() is before
    authority.issue(tmp_path / "tls", "DNS:search.retrograde")
    after = identity.current()
    assert after.pair == (files.key.read_bytes(), files.certificate.read_bytes())
    assert (after.pair != before.pair, identity.current() is after) == (True, True)


def test_half_an_identity_is_not_taken_over(tmp_path: Path, authority: Authority, files: TlsSettings) -> None:
    """While only the certificate has been replaced, or a file is away, the last whole identity stays in use."""
    identity = Identity.of(files)
    before = identity.current()
    renewed = authority.issue(tmp_path / "renewed", "DNS:search.retrograde")
    files.certificate.unlink()
    assert identity.current() is before
    files.certificate.write_bytes(renewed.certificate.read_bytes())
    assert identity.current() is before
    files.key.unlink()
    files.key.write_bytes(renewed.key.read_bytes())
    assert identity.current().pair == (renewed.key.read_bytes(), renewed.certificate.read_bytes())


class Vanishing(type(Path())):  # type: ignore[misc]  # the class of this system's paths
    """A file that goes away as soon as it was read, once `vanishes` is set."""

    vanishes = False

    def read_bytes(self) -> bytes:
        data: bytes = super().read_bytes()
        if self.vanishes:
            self.unlink()
        return data


@pytest.mark.parametrize("field", ["authority", "certificate", "key"])
def test_a_file_that_goes_away_while_it_is_read_changes_nothing(files: TlsSettings, field: str) -> None:
    """A renewal that unlinks and writes: the last whole identity stays in use, and what comes next is taken over."""
    paths = {name: Vanishing(path) for name, path in files}
    identity = Identity(**paths)
    before, renewed = identity.current(), paths[field].read_bytes() + b"\n"
    paths[field].write_bytes(renewed)
    paths[field].vanishes = True
    assert identity.current() is before
    paths[field].vanishes = False
    paths[field].write_bytes(renewed)
    assert identity.current() is not before


@pytest.mark.parametrize(
    ("field", "content", "said"),
    [
        ("certificate", None, "tls.certificate: {path}: No such file or directory; name a file that can be read"),
        ("key", None, "tls.key: {path}: No such file or directory; name a file that can be read"),
        ("authority", None, "tls.authority: {path}: No such file or directory; name a file that can be read"),
        ("authority", b"none", "tls.authority: {path}: holds no PEM certificate; correct it"),
        ("key", b"none", "tls.certificate, tls.key: .* are no PEM certificate and key"),
        ("key", "another", "tls.certificate, tls.key: .* are not a pair"),
        ("key", "locked", "tls.certificate, tls.key: .* without a password"),
    ],
)
def test_an_error_names_the_file(
    tmp_path: Path, authority: Authority, files: TlsSettings, field: str, content: bytes | str | None, said: str
) -> None:
    """A file that is missing, holds something else or belongs to another one is named, and what to do."""
    path: Path = getattr(files, field)
    path.unlink()
    if content == "another":
        content = authority.issue(tmp_path / "another", "DNS:search.retrograde").key.read_bytes()
    if content == "locked":
        content = authority.locked_key(tmp_path)
    if isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=said.format(path=path)):
        Identity.of(files)


def test_a_misspelt_key_of_tls_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The path of the key is printed, and the key that was meant."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"tls": {"certificat": "/a", "key": "/b", "authority": "/c"}}))
    with pytest.raises(SystemExit):
        load_settings(ServiceSettings, ["--config", str(config)])
    assert "tls.certificat: unknown key; did you mean 'certificate'?" in capsys.readouterr().err
