"""The images as an OCI archive, on Debian 12, without a container engine, a registry or root.

    python -m tools.images --out build/images [IMAGE ...]

    system        Debian packages; some are shared by the light images, more by those that compile what they run
    services      what every service requires, installed by uv with hashes
    <image>       what only this one requires
    code          libs, its service, models

Layers are kept in ~/.cache/retrograde/images under a digest of what goes into them. The same files and packages make
the same image, digest for digest. images.tar in the output folder has them all, each layer once; images.json has their
names, sizes and digests. Packages of the system are those that this machine's apt offered when the cache was empty.

`inference` and `job` need torch, which takes 5 GB: here they are without it, and their pods mount a folder of
packages from the node, read-only, at /opt/retrograde/environment. The Dockerfiles make images that carry it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.images import debian, oci
from tools.images.definitions import IMAGES, PYTHON_PACKAGES, Image
from tools.images.layers import Entries, Layer, digest_of, folder, write

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "registry.local/retrograde/"
_UNUSED = ("tests", "SelfTest", "bin")  # parts of installed packages that nobody runs


class Builder:
    """Makes the layers of images, or finds them in `cache`."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def build(self, image: Image, tag: str) -> oci.Image:
        """`image` with its layers."""
        layers = [self._system(image.system), *self._requirements(image), self._code(image)]
        return oci.Image(f"{PREFIX}{image.name}:{tag}", image.config, layers)

    def _system(self, packages: tuple[str, ...]) -> Layer:
        debs = debian.download(packages, self._cache / "apt")
        return self._layer("system", [each.name for each in debs], lambda: debian.unpacked(debs))

    def _requirements(self, image: Image) -> list[Layer]:
        """A mounted image has the first of its requirements only."""
        layers: list[Layer] = []
        below: list[Path] = []
        for name in image.requirements[: 1 if image.is_mounted else None]:
            installed = self._installed(ROOT / "requirements" / f"{name}.txt")
            covered = tuple(below)
            inputs = [each.name for each in (*covered, installed)]
            layers.append(self._layer(name, inputs, lambda at=installed, under=covered: _added(at, under)))
            below.append(installed)
        return layers

    def _installed(self, requirements: Path) -> Path:
        """A folder with the packages of a requirement file."""
        place = self._cache / "python" / f"{requirements.stem}-{_hex(digest_of(requirements), 'linux', '3.11')}"
        if not place.exists():
            beside = place.with_suffix(f".{os.getpid()}")
            _install(requirements, beside)
            beside.rename(place)
        return place

    def _code(self, image: Image) -> Layer:
        entries = folder(ROOT / "libs", "app/libs", ["retrograde.egg-info"])
        entries |= folder(ROOT / "services", "app/services", _others(image))
        for model in image.models:
            entries |= folder(ROOT / "models" / model, f"app/models/{model}")
        inputs = [f"{name} {each.mode} {_content(each.data)}" for name, each in sorted(entries.items())]
        return self._layer(image.name, inputs, lambda: entries)

    def _layer(self, name: str, inputs: Sequence[str], make: Callable[[], Entries]) -> Layer:
        """The layer made of `inputs`, from the cache if it is there."""
        makers = [digest_of(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
        path = self._cache / "layers" / f"{name}-{_hex(*inputs, *makers)}.tar"
        if path.exists():
            return Layer(path, digest_of(path), path.stat().st_size)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write(make(), path)


def _install(requirements: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--target",
        place,
        "--requirement",
        requirements,
    ]
    platform = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
    subprocess.run([*command, *platform, "--require-hashes", "--no-deps", "--only-binary", ":all:"], check=True)


def _added(installed: Path, below: Sequence[Path]) -> Entries:
    """What `installed` has and the layers below do not."""
    entries = folder(installed, PYTHON_PACKAGES, [*_UNUSED, ".lock"])
    for each in below:
        for name in folder(each, PYTHON_PACKAGES, _UNUSED):
            relative = Path(name).relative_to(PYTHON_PACKAGES)
            if name in entries and (each / relative).read_bytes() == (installed / relative).read_bytes():
                del entries[name]
    return entries


def _others(image: Image) -> list[str]:
    """The folders of services/ that are not this image's."""
    folders = [path.name for path in (ROOT / "services").iterdir() if path.is_dir()]
    return [*(name for name in folders if name not in image.services), "Dockerfile"]


def _content(data: bytes | Path | None) -> str:
    return hashlib.sha256(data.read_bytes() if isinstance(data, Path) else data or b"").hexdigest()


def _hex(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def main() -> None:
    """Builds what the command line names, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description="Builds the images as one OCI archive.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)}; all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "build/images", help="folder of images.tar and images.json")
    parser.add_argument("--tag", default="dev", help="tag in the names of the images")
    parser.add_argument("--cache", type=Path, default=_cache(), help="folder of what is kept between builds")
    arguments = parser.parse_args()
    if unknown := set(arguments.images) - IMAGES.keys():
        parser.error(f"IMAGE: {', '.join(sorted(unknown))}: unknown; choose from {', '.join(IMAGES)}")
    builder = Builder(arguments.cache)
    try:
        built = [builder.build(IMAGES[name], arguments.tag) for name in arguments.images or IMAGES]
    except debian.PackagesError as error:
        raise SystemExit(f"error: {error}") from error
    arguments.out.mkdir(parents=True, exist_ok=True)
    oci.write(built, arguments.out / "images.tar")
    lines = [{"name": each.name, "num_bytes": each.num_bytes, "digest": each.digest} for each in built]
    (arguments.out / "images.json").write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
    for each in built:
        print(f"{each.name:40} {each.num_bytes / 1e6:6.1f} MB  {each.digest}")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrograde" / "images"


if __name__ == "__main__":
    main()
