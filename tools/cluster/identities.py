"""Who may speak to the cluster: an authority, certificates of the servers, one and a kubeconfig for each client.

All of it lies in one folder that only its owner reads, is made by openssl, and is valid for a month.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from retrograde.cli.servers.obtain import run_tool

_DAYS = "30"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Identities:
    """Keys, certificates and kubeconfigs in `folder`; the authority is made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.authority.exists():
            self._make_authority()
            self._make_signer()

    @property
    def authority(self) -> Path:
        """The certificate all of the cluster's clients trust."""
        return self.folder / "authority.pem"

    def certificate(self, name: str, *, subject: str, names: str) -> tuple[Path, Path]:
        """A certificate for `subject`, which is reached under `names` (`IP:...,DNS:...`), and its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n", encoding="utf-8")
        request = self.folder / f"{name}.csr"
        self._openssl("req", *_KEY, "-keyout", str(key), "-out", str(request), "-subj", subject)
        signer = ("-CA", str(self.authority), "-CAkey", str(self.folder / "authority.key"), "-CAcreateserial")
        files = ("-in", str(request), "-out", str(certificate), "-extfile", str(extensions))
        self._openssl("x509", "-req", "-days", _DAYS, *signer, *files)
        return certificate, key

    def kubeconfig(self, name: str, *, subject: str, server: str) -> Path:
        """The kubeconfig of the client that `subject` names: `/O=GROUP/CN=USER`."""
        client = self.certificate(f"{name}-client", subject=subject, names=f"DNS:{name}")
        file = self.folder / f"{name}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(_kubeconfig(server, str(self.authority), *map(str, client))), encoding="utf-8")
        return file

    def _make_authority(self) -> None:
        files = ("-keyout", str(self.folder / "authority.key"), "-out", str(self.authority))
        self._openssl("req", "-x509", *_KEY, "-days", _DAYS, "-subj", "/CN=cluster", *files)

    def _make_signer(self) -> None:
        key = str(self.folder / "accounts.key")
        self._openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
        self._openssl("pkey", "-in", key, "-pubout", "-out", str(self.folder / "accounts.pub"))

    def _openssl(self, *arguments: str) -> None:
        run_tool(["openssl", *arguments], {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder)})


def _kubeconfig(server: str, authority: str, certificate: str, key: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "local", "user": {"client-certificate": certificate, "client-key": key}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    }
