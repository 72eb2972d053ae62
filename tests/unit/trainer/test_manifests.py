"""A job becomes the objects of the golden files, and a template or a name that cannot work is refused."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from retrograde.runtime.errors import InvalidInputError
from services.trainer.kubernetes.manifests import config_map, indexed_job, jobset, needs_service, service
from services.trainer.kubernetes.names import label_value, object_name
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.kubernetes.template import checked_template, read_template
from services.trainer.launch import Job, JobHandle

DATA = Path(__file__).parents[2] / "data" / "kubernetes"
TEMPLATE: dict[str, Any] = yaml.safe_load((DATA / "pod_template.yaml").read_text())


class Config(BaseModel):
    store: str = "s3://runs?endpoint=http://minio:9000"
    work_dir: str = "/scratch/countdown/astro_rl"


def job(num_processes: int) -> Job:
    return Job("countdown-1a2b3c4d", "astro_rl", "services.trainer.job.grpo", Config(), num_processes)


def settings(**changes: Any) -> LaunchSettings:
    return LaunchSettings(backend="indexed", pod_template="t.yaml", **changes)


def objects(make: Any, num_processes: int, **changes: Any) -> list[dict[str, Any]]:
    """What is created for the job, in order; the owner as the server would have it."""
    template, chosen = checked_template(TEMPLATE, "/scratch"), settings(**changes)
    owner = make(job(num_processes), chosen, template)
    made = copy.deepcopy(owner)
    made["metadata"]["uid"] = "0a1b"
    services = [service(made, chosen.rendezvous_port)] if needs_service(owner) else []
    return [owner, config_map(job(num_processes), made), *services]


@pytest.mark.parametrize(
    ("golden", "make", "num_processes", "changes"),
    [
        ("indexed_one", indexed_job, 1, {}),
        ("indexed_four_on_two", indexed_job, 4, {"processes_per_pod": 2}),
        ("indexed_one_pod_queue", indexed_job, 2, {"processes_per_pod": 8, "queue": "team-a"}),
        ("jobset_two", jobset, 2, {"queue": "team-a", "ttl_seconds": 60}),
    ],
)
def test_a_job_becomes_the_golden_objects(golden: str, make: Any, num_processes: int, changes: dict[str, Any]) -> None:
    """One rank, ranks over pods, ranks in one pod of a queue, a JobSet: each exactly the objects of its file."""
    file, made = DATA / f"{golden}.yaml", objects(make, num_processes, **changes)
    if os.environ.get("RETROGRADE_GOLDEN"):
        file.write_text(yaml.safe_dump_all(made, sort_keys=False))
    assert made == list(yaml.safe_load_all(file.read_text()))


def test_the_template_stays_as_it_was() -> None:
    """Making manifests changes nothing in the template, which serves all jobs."""
    before = copy.deepcopy(TEMPLATE)
    objects(indexed_job, 4)
    assert before == TEMPLATE


def test_the_templates_command_is_the_python_to_start() -> None:
    """Where the image's Python is elsewhere the template names it, and the trainer gives it arguments alone."""
    body = copy.deepcopy(TEMPLATE)
    body["spec"]["containers"][0]["command"] = ["/env/bin/python"]
    made = indexed_job(job(1), settings(), checked_template(body, "/scratch"))
    train = made["spec"]["template"]["spec"]["containers"][0]
    assert (train["command"], train["args"][:2]) == (["/env/bin/python"], ["-m", "services.trainer.job.grpo"])


def test_ranks_that_do_not_fill_their_pods_are_refused() -> None:
    """Three ranks and two to a pod: the error names both numbers."""
    with pytest.raises(InvalidInputError, match=r"num_processes: the 3 of job astro_rl .*processes_per_pod: 2"):
        objects(indexed_job, 3, processes_per_pod=2)


def changed(**spec: Any) -> dict[str, Any]:
    body = copy.deepcopy(TEMPLATE)
    body["spec"].update(spec)
    return body


SCRATCH = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], r"spec: missing"),
        ({"metadata": {}}, r"spec: missing"),
        (changed(restartPolicy="OnFailure"), r"spec\.restartPolicy: 'OnFailure' .* write Never"),
        (changed(hostname="a"), r"spec\.hostname: 'a' .* delete it"),
        (changed(subdomain="b"), r"spec\.subdomain: 'b' .* delete it"),
        (changed(containers=[{"name": "job"}]), r"spec\.containers: \['job'\] has no 'train'"),
        (changed(containers=None), r"spec\.containers: \[\] has no 'train'"),
        (changed(containers=[{"name": "train", "args": ["-x"], **SCRATCH}]), r"args: \['-x'\] .* delete it"),
        (changed(containers=[{"name": "train"}]), r"volumeMounts: \[\] .* work_dir /scratch"),
        (changed(volumes=[{"name": "job-config"}]), r"spec\.volumes: 'job-config' .* rename"),
    ],
)
def test_a_template_that_cannot_work_is_refused(body: object, words: str) -> None:
    """The error names the field, its value and the fix."""
    with pytest.raises(InvalidInputError, match=words):
        checked_template(body, "/scratch")


def test_a_template_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing file and one that is no YAML: the error names the setting and the file."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    for path in (tmp_path / "none.yaml", broken):
        with pytest.raises(InvalidInputError, match=rf"launch\.pod_template: {path}"):
            read_template(path, "/scratch")


@pytest.mark.parametrize(
    ("handle", "instance", "name"),
    [
        (JobHandle("countdown-1a2b3c4d", "astro_rl"), "demo", "astro-rl-countdown-1a2b3c4d-"),
        (JobHandle("x" * 63, "direct_sft"), "", "direct-sft-xxxxxxxxxxxxxxxxxxxxxxxxxxxxx-"),
        (JobHandle("7", "3d"), "", "job-3d-7-"),
    ],
)
def test_names_are_names_of_hosts(handle: JobHandle, instance: str, name: str) -> None:
    """Lower case, beginning with a letter, short enough for the host names of a JobSet's pods."""
    made = object_name(handle, instance)
    assert made.startswith(name)
    assert len(f"{made}-train-0-9999") <= 63


def test_names_keep_jobs_apart() -> None:
    """Runs that differ where the name is cut, jobs that differ in a letter names cannot have, and releases."""
    long = "r" * 60
    handles = [(JobHandle(f"{long}a", "j"), ""), (JobHandle(f"{long}b", "j"), "")]
    handles += [(JobHandle("r", "a_b"), ""), (JobHandle("r", "a-b"), ""), (JobHandle("r", "a-b"), "other")]
    assert len({object_name(*each) for each in handles}) == len(handles)


@pytest.mark.parametrize(
    ("text", "value"),
    [("astro_rl", "astro_rl"), ("run-", "run-b6913847"), ("x" * 64, "x" * 54 + "-7ce10097")],
)
def test_label_values_are_valid(text: str, value: str) -> None:
    """What a label can hold is itself; anything else is cut to 63 letters, with a hash that keeps it apart."""
    assert label_value(text) == value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backend": "auto"}, "pod_template: backend auto needs"),
        ({"lease": "trainer"}, "lease: backend local has no"),
        ({"ttl_seconds": 0}, "ttl_seconds\n.* greater than or equal to 60"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], words: str) -> None:
    """A backend without a template, an election without an API server, jobs gone before the trainer sees their end."""
    with pytest.raises(ValidationError, match=words):
        LaunchSettings(**changes)
