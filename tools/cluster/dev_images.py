"""Images for the Kafka and the MinIO of k8s/dev where no registry can be asked: `python -m tools.cluster.dev_images`.

They have the names that k8s/dev asks for and, in them, what `make servers` obtained: Kafka's jars with Debian's Java,
and MinIO's program. They stand in for the published images in tests; they are not those.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from retrograde.cli.servers.obtain import cache_folder, kafka_libs, minio_binary
from tools.images import debian, oci
from tools.images.definitions import SYSTEM
from tools.images.layers import Entries, Entry, Layer, folder, write

_DEV = Path(__file__).resolve().parents[2] / "k8s" / "dev"
_JAVA = "/usr/lib/jvm/java-17-openjdk-amd64/bin"
_CACHE = cache_folder() / "images"


def build(archive: Path) -> Path:
    """Writes both images as one archive."""
    packages = (*SYSTEM, "openjdk-17-jre-headless")
    work = archive.parent
    work.mkdir(parents=True, exist_ok=True)
    system = _layer(work, "java", debian.unpacked(debian.download(packages, _CACHE / "apt")))
    kafka = _layer(work, "kafka", folder(kafka_libs(), "opt/kafka/libs"))
    minio = _layer(work, "minio", {"usr/bin/minio": Entry(minio_binary(), mode=0o755)})
    oci.write([_image("kafka", [system, kafka]), _image("minio", [system, minio])], archive)
    return archive


def _image(name: str, layers: list[Layer]) -> oci.Image:
    return oci.Image(_asked_for(name), {"User": "10001:10001", "Env": [f"PATH={_JAVA}:/usr/bin:/bin"]}, layers)


def _layer(work: Path, name: str, entries: Entries) -> Layer:
    return write(entries, work / f"{name}.layer")


def _asked_for(name: str) -> str:
    """The image that the pod of this name in k8s/dev names."""
    objects: list[dict[str, Any]] = list(yaml.safe_load_all((_DEV / f"{name}.yaml").read_text(encoding="utf-8")))
    workload = next(each for each in objects if each["kind"] in {"StatefulSet", "Deployment"})
    image: str = workload["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
