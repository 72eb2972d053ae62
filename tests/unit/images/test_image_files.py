"""Dockerfiles, skaffold.yaml and the builder without an engine say the same about each image."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from import_graph import ROOT

from tools.images import debian
from tools.images.definitions import IMAGES, PYTHON_PACKAGES, SYSTEM, TOOLCHAIN, USER, Image

NAMES = sorted(IMAGES)


def dockerfile(image: str) -> str:
    """The text of an image's Dockerfile, continued lines joined."""
    folder = "trainer/job" if image == "job" else image
    return (ROOT / "services" / folder / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def instruction(text: str, name: str) -> str:
    """What the last instruction `name` is given."""
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)[-1]


def system_packages(text: str) -> set[str]:
    """Those that a Dockerfile names, and those that are in every Debian image if it begins with one."""
    if "FROM ${BASE}\n" not in text:
        return set(re.findall(r"^RUN sh system.sh (.*)$", text, re.MULTILINE)[0].split())
    named = instruction(text, "RUN").split("--no-install-recommends ")[1].split("&&")[0].split()
    return {*named, "dash", "base-files", "libc-bin", "coreutils", "util-linux"}


@pytest.fixture(params=NAMES)
def image(request: pytest.FixtureRequest) -> Image:
    """Each image in turn."""
    return IMAGES[request.param]


def test_both_builds_start_the_same_process(image: Image) -> None:
    """User, entry point, arguments and folder of the Dockerfile are those of the archive; the form is exec."""
    text = dockerfile(image.name)
    config = image.config
    assert instruction(text, "USER") == config["User"] == USER == "10001:10001"
    assert json.loads(instruction(text, "ENTRYPOINT")) == config["Entrypoint"]
    assert json.loads(instruction(text, "CMD")) == config["Cmd"]
    assert instruction(text, "WORKDIR") == config["WorkingDir"]


def test_both_builds_set_the_same_environment(image: Image) -> None:
    """Variables are the same, but for the paths of packages that the archive's pods mount."""
    theirs = dict(pair.split("=", 1) for pair in instruction(dockerfile(image.name), "ENV").split())
    ours = dict(pair.split("=", 1) for pair in image.config["Env"])
    ours["PYTHONPATH"] = ours["PYTHONPATH"].removesuffix(":/opt/retrograde/environment")
    if image.is_mounted:  # ninja and its like, of the packages that its archive lacks
        ours["PATH"] = theirs["PATH"]
    assert theirs == ours


def test_both_builds_install_the_same(image: Image) -> None:
    """The Dockerfile has the archive's system packages, requirement file, code and models."""
    text = dockerfile(image.name)
    assert system_packages(text) == set(image.system)
    assert image.system == (TOOLCHAIN if image.is_mounted else SYSTEM)
    requirements = text.replace("${REQUIREMENTS}", "inference")
    assert set(re.findall(r"([a-z-]+)\.txt", requirements)) == {image.requirements[-1]}
    assert f"COPY --from=packages /packages /{PYTHON_PACKAGES}\n" in text
    assert re.findall(r"^COPY services/([a-z]+) services/\1$", text, re.MULTILINE) == list(image.services)
    assert re.findall(r"^COPY models/(\S+) models/\1$", text, re.MULTILINE) == list(image.models)


def test_both_builds_make_the_same_of_packages() -> None:
    """The script of the light Dockerfiles leaves out what the archive does; accounts and links are the same."""
    script = (ROOT / "services" / "system.sh").read_text(encoding="utf-8")
    left_out = script.partition("rm -rf ")[2].partition("\nln ")[0].replace("\\\n", " ").split()
    assert {f"{each}/" for each in left_out} == set(debian.LEFT_OUT)
    written = dict(re.findall(r"^(?:printf|echo) '(.*)' >(etc/.*)$", script, re.MULTILINE))
    texts = {path: text.replace("\\n", "\n").rstrip() for text, path in written.items()}
    assert texts == {path: text.rstrip() for path, text in debian.ACCOUNTS.items()}
    assert f"for each in {' '.join(debian.MERGED)}; do" in script


def test_bases_may_be_given_with_their_digests(image: Image) -> None:
    """What is not made here begins with an argument, whose default is no more than a tag, which moves."""
    text = dockerfile(image.name)
    begun = ["${PACKAGER} AS packages", "${BASE}"]
    if not image.is_mounted:
        begun = ["${BASE} AS system", "${PACKAGER} AS packages", "scratch"]
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == begun
    defaults = dict(re.findall(r"^ARG (PACKAGER|BASE)=(\S+)$", text.partition("FROM")[0], re.MULTILINE))
    assert {name: tag.partition(":")[0] for name, tag in defaults.items()} == {"PACKAGER": "python", "BASE": "debian"}


def test_any_user_may_read_the_code(image: Image) -> None:
    """Whatever modes the checkout has: all of it comes from the stage of packages, which lets others in at its end."""
    stages = re.split(r"^FROM .*$", dockerfile(image.name), flags=re.MULTILINE)
    assert stages[-2].rstrip().endswith("RUN chmod -R u=rwX,go=rX .")
    assert stages[-2].rindex("WORKDIR /app") < stages[-2].index("COPY services/__init__.py")
    copied = re.findall(r"^COPY (?!--from=system)(.*)$", stages[-1], re.MULTILINE)
    assert copied == [f"--from=packages /packages /{PYTHON_PACKAGES}", "--from=packages /app /app"]


def test_packages_come_with_hashes(image: Image) -> None:
    """Nothing is installed that the requirement file does not name with its hash."""
    (installed,) = re.findall(r"^RUN uv pip install (.*)$", dockerfile(image.name), re.MULTILINE)
    assert {"--require-hashes", "--no-deps"} <= set(installed.split())


def test_large_packages_come_compiled(image: Image) -> None:
    """Torch and vLLM are not compiled anew by each process that starts, which cannot keep what it compiles."""
    assert ("--compile-bytecode" in dockerfile(image.name)) == image.is_mounted


def test_skaffold_builds_every_image() -> None:
    """skaffold.yaml names each Dockerfile once, and tells the chart each image."""
    document = yaml.safe_load((ROOT / "skaffold.yaml").read_text(encoding="utf-8"))
    built = {each["image"]: each["docker"]["dockerfile"] for each in document["build"]["artifacts"]}
    assert sorted(built) == [f"retrograde/{name}" for name in NAMES]
    assert all(Path(ROOT / path).is_file() for path in built.values())
    (release,) = document["deploy"]["helm"]["releases"]
    told = release["setValueTemplates"]
    assert told == {
        f"{name}.image.{key}": f"{{{{.IMAGE_{variable}_retrograde_{name}}}}}"
        for name in NAMES
        for key, variable in (("name", "REPO"), ("tag", "TAG"))
    }
    assert [each["name"] for each in document["profiles"]] == ["cpu", "gpu", "dev"]
