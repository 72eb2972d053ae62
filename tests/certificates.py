"""Keys and certificates for servers and clients of tests, made by openssl and valid for a day."""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from retrograde.runtime.tls import TlsSettings

_EC_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, a server's key and certificate for 127.0.0.1, a client's; and a stranger authority."""

    folder: Path

    def file(self, name: str) -> Path:
        return self.folder / name

    @property
    def authority(self) -> Path:
        return self.file("authority.pem")

    @property
    def stranger(self) -> Path:
        """An authority that signed none of them."""
        return self.file("stranger.pem")


def make_certificates(folder: Path) -> Certificates:
    """All of them, in `folder`: authority, stranger, server, server-with-key and client, each .pem and .key."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("authority", "stranger"):
        files = f"-keyout {name}.key -out {name}.pem"
        _openssl(folder, f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} {files}")
    for name in ("server", "client"):
        _sign(folder, name)
    both = (folder / "server.key").read_text() + (folder / "server.pem").read_text()
    (folder / "server-with-key.pem").write_text(both)
    return Certificates(folder)


def _sign(folder: Path, name: str) -> None:
    _openssl(folder, f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signer = "-CA authority.pem -CAkey authority.key -CAcreateserial -extfile names"
    _openssl(folder, f"x509 -req -in {name}.csr -days 1 {signer} -out {name}.pem")


class Authority:
    """Signs identities of services, each a folder of tls.crt, tls.key and ca.crt as a kubelet mounts a Secret.

    The three names are links through `..data`, a link to the folder of the present version: a renewed identity takes
    the place of the old one in one step.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        files = f"-keyout {name}.key -out {name}.pem"
        _openssl(folder, f"req -x509 {_EC_KEY} -nodes -days 1 -subj /CN={name} {files}")

    @property
    def certificate(self) -> str:
        return (self._folder / f"{self._name}.pem").read_text()

    def issue(self, into: Path, *names: str, common_name: str = "nobody", trusts: str = "") -> TlsSettings:
        """Writes or renews the identity in `into`, for `names` (DNS:..., URI:...) and 127.0.0.1.

        It trusts `trusts`, by default this authority.
        """
        versions = len(list(into.glob("version-*")))
        version = into / f"version-{versions}"
        version.mkdir(parents=True)
        _openssl(version, f"req {_EC_KEY} -nodes -subj /CN={common_name} -keyout tls.key -out request -new")
        (version / "names").write_text(f"subjectAltName={','.join((*names, 'IP:127.0.0.1'))}\n")
        signer = f"-CA {self._folder / self._name}.pem -CAkey {self._folder / self._name}.key"
        serial = secrets.randbits(63)
        _openssl(version, f"x509 -req -in request -days 1 {signer} -set_serial {serial} -extfile names -out tls.crt")
        (version / "ca.crt").write_text(trusts or self.certificate)
        link = into / f"..data-{versions}"
        link.symlink_to(version.name)
        link.rename(into / "..data")
        for name in () if versions else ("tls.crt", "tls.key", "ca.crt"):
            (into / name).symlink_to(Path("..data", name))
        return TlsSettings(certificate=into / "tls.crt", key=into / "tls.key", authority=into / "ca.crt")

    def locked_key(self, folder: Path) -> bytes:
        """A key under a password."""
        _openssl(folder, f"pkcs8 -topk8 -in {self._folder / self._name}.key -passout pass:password -out locked.key")
        return (folder / "locked.key").read_bytes()


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)
