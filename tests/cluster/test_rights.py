"""What each ServiceAccount of the chart may do on a real API server: as its authoriser says, and by acting as it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.namespaces import Namespace

ACCOUNTS = ("inference", "verifier", "search", "rewriter", "rollouts", "trainer", "job")
Right = tuple[str, str, str]
"""Verb, group and resource."""
TRAINER_MAY = {
    ("batch", "jobs"): "create delete get list",
    ("jobset.x-k8s.io", "jobsets"): "create delete get list",
    ("", "configmaps"): "create get",
    ("", "services"): "create get",
    ("", "pods"): "list",
    ("", "pods/log"): "get",
    ("coordination.k8s.io", "leases"): "create get update",
    ("retrograde.dev", "runs"): "list patch watch",
    ("retrograde.dev", "runs/status"): "patch",
}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "training"},
    "spec": {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "template": {}},
}


def acting(namespace: Namespace, account: str) -> str:
    """The flag with which kubectl acts as an account of the release, or as one that nothing was given to."""
    return f"--as=system:serviceaccount:{namespace.name}:{namespace.name}-{account}"


def rights(namespace: Namespace, account: str, within: str) -> set[Right]:
    """All that the authoriser says the account may do with resources of a namespace."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": within}}
    asked = ("create", "--validate=false", "-f-", "-ojson", acting(namespace, account))
    status: dict[str, Any] = json.loads(namespace.cluster.kubectl(*asked, given=json.dumps(review)))["status"]
    assert not status["incomplete"]
    return {
        (verb, group, resource)
        for rule in status["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_rights_of_each_account(namespace: Namespace) -> None:
    """The trainer's account may do what its jobs need and no more; the others', and all elsewhere, what anybody may."""
    namespace.install("cpu")
    anybody = rights(namespace, "nobody", namespace.name)
    trainers = {(verb, *what) for what, verbs in TRAINER_MAY.items() for verb in verbs.split()}
    own = {account: rights(namespace, account, namespace.name) - anybody for account in ACCOUNTS}
    assert own == {account: trainers if account == "trainer" else set() for account in ACCOUNTS}
    elsewhere = {account: rights(namespace, account, "default") - anybody for account in ACCOUNTS}
    assert elsewhere == {account: set() for account in ACCOUNTS}


def test_acting_as_an_account(namespace: Namespace) -> None:
    """The trainer makes a job, lists its two pods and deletes it; it reads no secret, and a job's pod no job."""
    namespace.install("cpu")
    trainer = acting(namespace, "trainer")
    job = JOB | {"spec": JOB["spec"] | {"template": namespace.job_template()}}
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    namespace.create(job, trainer)
    pods = ("pods", "--selector=job-name=training", "-oname")
    namespace.kubectl("wait", "job/training", "--for=jsonpath={.status.active}=2", "--timeout=60s")
    assert len(namespace.kubectl("get", *pods, trainer).split()) == 2
    namespace.kubectl("delete", "job", "training", trainer)
    for refused in (("get", "secrets", trainer), ("get", "jobs", acting(namespace, "job"))):
        with pytest.raises(AssertionError, match="Forbidden"):
            namespace.kubectl(*refused)
