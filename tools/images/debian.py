"""The system's part of an image: Debian packages, read as they are, without a container engine and without root.

`apt-get` of this machine finds and downloads them, in a state folder of its own and from this machine's own sources;
what it verifies is verified. Nothing of theirs is run: no maintainer script, no chroot.
"""

from __future__ import annotations

import functools
import os
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.images.layers import Entry

_SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
LEFT_OUT = (
    *(f"usr/share/{each}/" for each in ("man", "locale", "info", "lintian", "bug")),
    "usr/lib/python3.11/lib2to3/",
    "usr/lib/python3.11/pydoc_data/",
)
MERGED = ("bin", "sbin", "lib", "lib64")  # folders that are links into usr/ since Debian 12
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nretrograde:x:10001:10001::/app:/bin/false\n",
    "etc/group": "root:x:0:\nretrograde:x:10001:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
_LINKS = {"sh": "dash", "python": "python3", "cc": "gcc", "c++": "g++"}  # most are made by maintainer scripts


class PackagesError(Exception):
    """The packages cannot be had on this machine; the message says why."""


@functools.cache
def download(packages: tuple[str, ...], state: Path) -> list[Path]:
    """The .deb files of `packages` and of all they depend on, in the order of their names."""
    sources = next((each for each in _SOURCES if Path(each).exists()), None)
    if sources is None:
        raise PackagesError(f"no apt sources at {' or '.join(_SOURCES)}; build the images on Debian 12")
    environment = _configured(state, sources)
    if not any((state / "lists").glob("*_Packages*")):
        _run(["apt-get", "--quiet=2", "update"], environment)
    install = ["apt-get", "--quiet=2", "--yes", "install"]
    nothing_there = f"--option=Dir::Cache::archives={state / 'empty'}"  # else it lists only what is not there yet
    wanted = _run([*install, "--print-uris", nothing_there, *packages], environment)
    names = sorted(line.split()[1] for line in wanted.splitlines() if line.startswith("'"))
    if not all((state / "archives" / each).exists() for each in names):
        _run([*install, "--download-only", *packages], environment)
    if not any(name.startswith("python3.11-minimal_") for name in names):
        raise PackagesError("this machine's apt offers no Python 3.11; build the images on Debian 12")
    return [state / "archives" / each for each in names]


def unpacked(debs: Sequence[Path]) -> dict[str, Entry]:
    """The files of `debs`, with what their maintainer scripts would have made of use here."""
    found: dict[str, Entry] = {each: Entry(target=f"usr/{each}", mode=0o777) for each in MERGED}
    for deb in debs:
        found |= dict(_files(deb))
        control = _run(["dpkg-deb", "--field", str(deb)]).encode()
        found[f"var/lib/dpkg/status.d/{deb.name.partition('_')[0]}"] = Entry(data=control)
    found |= {name: Entry(data=text.encode()) for name, text in ACCOUNTS.items()}
    for name, target in _LINKS.items():
        if f"usr/bin/{target}" in found:
            found[f"usr/bin/{name}"] = Entry(target=target, mode=0o777)
    return found | {"tmp": Entry(mode=0o1777), "etc/retrograde": Entry(mode=0o755)}


def _files(deb: Path) -> Iterator[tuple[str, Entry]]:
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as unpacking,  # noqa: S607
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as tar,
    ):
        for member in tar:
            name = _place(member.name)
            if not name or member.isdir() or name.startswith(LEFT_OUT) or _is_paper(name):
                continue
            if member.issym():
                yield name, Entry(target=member.linkname, mode=0o777)
            elif member.islnk():
                yield name, Entry(target=os.path.relpath(_place(member.linkname), Path(name).parent), mode=0o777)
            elif (file := tar.extractfile(member)) is not None:
                yield name, Entry(data=file.read(), mode=member.mode & 0o755)


def _place(name: str) -> str:
    """Where a packed path is on a system whose bin, lib, ... are links into usr/."""
    name = name.removeprefix("./").strip("/")
    return f"usr/{name}" if name.partition("/")[0] in MERGED else name.removeprefix(".")


def _is_paper(name: str) -> bool:
    """Documentation; licences are kept."""
    return name.startswith("usr/share/doc/") and not name.endswith("/copyright")


def _configured(state: Path, sources: str) -> dict[str, str]:
    """An environment in which apt keeps all it has in `state`, and knows of no package that is installed."""
    for each in ("lists/partial", "archives/partial", "empty/partial"):
        (state / each).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
    }
    if os.getuid() == 0:
        options["APT::Sandbox::User"] = "root"
    configuration = state / "apt.conf"
    configuration.write_text("".join(f'{key} "{value}";\n' for key, value in options.items()), encoding="utf-8")
    return os.environ | {"APT_CONFIG": str(configuration), "LC_ALL": "C"}


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise PackagesError(f"{command[0]} is missing; build the images on Debian 12") from error
    except subprocess.CalledProcessError as error:
        raise PackagesError(f"{' '.join(command[:5])} ...: {error.stderr.strip() or error.stdout.strip()}") from error
    return result.stdout
