"""The images built without a container engine: the same each time, small, and they start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIGHT = ("rewriter", "rollouts", "search", "trainer", "verifier")
MAX_LIGHT_BYTES = 200_000_000


CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrograde/images"


def build(out: Path, cache: Path = CACHE) -> Path:
    """Builds the light images into `out`; gives the archive."""
    command = [sys.executable, "-m", "tools.images", "--out", out, "--cache", cache, *LIGHT]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return out / "images.tar"


@dataclass
class Archive:
    """An OCI layout in a tar, open for reading."""

    tar: tarfile.TarFile
    images: dict[str, dict[str, Any]] = field(default_factory=dict)

    def document(self, name: str) -> Any:
        """A JSON file of the layout."""
        file = self.tar.extractfile(name)
        assert file is not None
        return json.load(file)

    def blob(self, digest: str) -> str:
        """Where a blob is."""
        return f"blobs/{digest.replace(':', '/')}"

    def manifest(self, image: str) -> Any:
        """What `image` consists of."""
        for entry in self.document("index.json")["manifests"]:
            if entry["annotations"]["io.containerd.image.name"] == f"registry.local/retrograde/{image}:dev":
                return self.document(self.blob(entry["digest"]))
        raise AssertionError(image)

    def config(self, image: str) -> Any:
        """How `image` runs."""
        return self.document(self.blob(self.manifest(image)["config"]["digest"]))["config"]

    def unpack(self, image: str, root: Path) -> None:
        """Lays the layers of `image` over each other in `root`."""
        for layer in self.manifest(image)["layers"]:
            with tarfile.open(fileobj=self.tar.extractfile(self.blob(layer["digest"]))) as files:
                files.extractall(root, filter="tar")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """The archive of the light images; skipped where there is no apt, which fails in CI."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        message = "apt-get and dpkg-deb are missing: images are built on Debian 12"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with tarfile.open(build(tmp_path_factory.mktemp("images"))) as tar:
        yield Archive(tar)


def test_images_do_not_depend_on_when_and_where(archive: Archive, tmp_path: Path) -> None:
    """Made again in another folder from the same packages, with no layer kept, an archive is the same byte for byte."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for downloads in ("apt", "python"):
        (cache / downloads).symlink_to(CACHE / downloads)
    again = build(tmp_path / "out", cache)
    assert again.read_bytes() == Path(str(archive.tar.name)).read_bytes()


def test_layers_are_kept_once(archive: Archive) -> None:
    """The five light images have one system and one layer of packages in common."""
    layers = [[each["digest"] for each in archive.manifest(image)["layers"]] for image in LIGHT]
    assert len({tuple(each[:2]) for each in layers}) == 1
    names = archive.tar.getnames()
    assert len(names) == len(set(names))


@pytest.mark.parametrize("image", LIGHT)
def test_a_light_image_is_small_and_harmless(archive: Archive, image: str) -> None:
    """Its layers are 200 MB at most, uncompressed; it runs as nobody special, and no file in it lends rights."""
    layers = archive.manifest(image)["layers"]
    assert sum(each["size"] for each in layers) <= MAX_LIGHT_BYTES
    assert archive.config(image)["User"] == "10001:10001"
    assert archive.config(image)["Entrypoint"] == ["python", "-m", f"services.{image}"]
    for layer in layers:
        with tarfile.open(fileobj=archive.tar.extractfile(archive.blob(layer["digest"]))) as files:
            assert [member.name for member in files if member.mode & 0o6000 or member.uid or member.mtime] == []


@pytest.fixture(scope="module")
def trainer(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the trainer's image."""
    root = tmp_path_factory.mktemp("trainer")
    archive.unpack("trainer", root)
    return root


def python(archive: Archive, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the image's own Python with nothing but its libraries and packages."""
    (variables,) = [dict(pair.split("=", 1) for pair in archive.config("trainer")["Env"])]
    paths = ":".join(f"{root}{path}" for path in variables["PYTHONPATH"].split(":"))
    command = [
        root / "usr/lib64/ld-linux-x86-64.so.2",
        "--library-path",
        root / "usr/lib/x86_64-linux-gnu",
        root / "usr/bin/python",
        *arguments,
    ]
    environment = {"PYTHONHOME": f"{root}/usr", "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=root)


def test_a_service_starts_from_its_image(archive: Archive, trainer: Path) -> None:
    """With nothing but the image's own Python, libraries and packages a service says what its settings are."""
    told = python(archive, trainer, *archive.config("trainer")["Entrypoint"][1:], "--help")
    assert told.stdout.startswith("usage: python -m services.trainer"), told.stderr


def test_the_trainer_finds_what_it_needs_in_a_cluster(archive: Archive, trainer: Path) -> None:
    """The client of the API server and the tokenizers, both without what they require for other uses."""
    told = python(archive, trainer, "-c", "import services.trainer.kubernetes.cluster, tokenizers; print('found')")
    assert told.stdout == "found\n", told.stderr
