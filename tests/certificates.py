"""Keys and certificates for servers and clients of tests, made by openssl and valid for a day."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


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


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)
