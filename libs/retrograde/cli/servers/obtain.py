"""What the servers run from: Kafka's jars by Maven and MinIO's binary by Go, once, in the user's cache folder.

Each is made beside its place and moved there whole, so that a broken download is never taken for a finished one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from retrograde.runtime.errors import NotFoundError, UnavailableError

KAFKA_VERSION = "4.1.0"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>retrograde</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""
_LAST_CHARACTERS = 2000


def cache_folder() -> Path:
    """Where all clones of this repository keep what they obtained."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrograde"


def kafka_libs() -> Path:
    """The folder of Kafka's jars. Raises NotFoundError when it was not obtained."""
    return _present(cache_folder() / f"kafka-{KAFKA_VERSION}" / "libs", "Kafka", "java", "mvn")


def minio_binary() -> Path:
    """MinIO's program. Raises NotFoundError when it was not obtained."""
    return _present(cache_folder() / "bin" / f"minio-{MINIO_VERSION}", "MinIO", "go")


def missing_tools(*tools: str) -> list[str]:
    """Those of `tools` that are not installed."""
    return [tool for tool in tools if shutil.which(tool) is None]


def obtain_kafka(say: Callable[[str], None]) -> Path:
    """The folder of Kafka's jars, downloaded when it is not there. Raises NotFoundError without a JDK and Maven."""
    libs = cache_folder() / f"kafka-{KAFKA_VERSION}" / "libs"
    if not libs.exists():
        _need("Kafka", "java", "mvn")
        say(f"setup: downloading Kafka {KAFKA_VERSION} into {libs} (54 MB)")
        made_at(libs, _copy_jars)
    return libs


def obtain_minio(say: Callable[[str], None]) -> Path:
    """MinIO's program, built when it is not there. Raises NotFoundError without Go."""
    binary = cache_folder() / "bin" / f"minio-{MINIO_VERSION}"
    if not binary.exists():
        _need("MinIO", "go")
        say(f"setup: building MinIO into {binary} (150 MB, two or three minutes)")
        made_at(binary, _build_minio)
    return binary


def _copy_jars(folder: Path) -> Path:
    (folder / "pom.xml").write_text(_POM, encoding="utf-8")
    command = ["mvn", "--batch-mode", "--quiet", "-f", str(folder / "pom.xml"), _COPY]
    run_tool([*command, "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'libs'}"], os.environ)
    return folder / "libs"


def _build_minio(folder: Path) -> Path:
    environment = os.environ | {"GOBIN": str(folder), "CGO_ENABLED": "0"}
    run_tool(["go", "install", f"github.com/minio/minio@{MINIO_VERSION}"], environment)
    return folder / "minio"


def made_at(place: Path, make: Callable[[Path], Path]) -> None:
    """Has `make` produce something in a folder beside `place` and moves it there; another may have been faster."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".partial-") as folder:
        made = make(Path(folder))
        if not place.exists():
            made.rename(place)


def run_tool(command: list[str], environment: Mapping[str, str], folder: Path | None = None) -> None:
    """Runs a tool, in `folder` if given. Raises UnavailableError with the end of what it wrote when it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if result.returncode:
        words = (result.stdout + result.stderr).strip()[-_LAST_CHARACTERS:]
        raise UnavailableError(f"{' '.join(command[:3])} ended with status {result.returncode}: {words}")


def _present(place: Path, name: str, *tools: str) -> Path:
    if not place.exists():
        _need(name, *tools)
        raise NotFoundError(f"{name} is not in {place}: run `make setup`")
    _need(name, *tools[:1] if tools[0] == "java" else ())
    return place


def _need(name: str, *tools: str) -> None:
    if missing := missing_tools(*tools):
        raise NotFoundError(f"{name} needs {' and '.join(missing)}: install a JDK 17, Maven and Go, then `make setup`")
