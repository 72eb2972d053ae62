"""`retrograde history`: what happened to a run, a line for each event, and one for the steps of each training job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from google.protobuf import json_format

from retrograde.analysis.job_steps import JobSteps
from retrograde.analysis.tables import duration
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2


def read_events(store: ObjectStore, run_id: str) -> list[run_pb2.RunEvent]:
    """The events of a run, in order."""
    return [run_pb2.RunEvent.FromString(store.get(key)) for key in store.list(f"runs/{run_id}/history/")]


def event_line(event: run_pb2.RunEvent) -> str:
    """When, what, and by whom where that was not the trainer."""
    when = datetime.fromtimestamp(event.at.ToSeconds(), UTC).strftime("%Y-%m-%d %H:%M:%S")
    by = f"  (by {event.by})" if event.by and event.by != "trainer" else ""
    return f"{when}  {_happened(event)}{by}"


def event_row(event: run_pb2.RunEvent) -> dict[str, object]:
    """The whole event, for programs."""
    return json_format.MessageToDict(event, preserving_proto_field_name=True)


def steps_lines(store: ObjectStore, run_id: str, events: list[run_pb2.RunEvent]) -> Iterator[str]:
    """What the jobs' own objects tell: how many steps, and the policy versions their samples came from."""
    for job in dict.fromkeys(event.job_started.job for event in events if event.HasField("job_started")):
        steps = JobSteps(store, f"runs/{run_id}/jobs/{job}/steps/")
        steps.read()
        versions = [int(step["policy_version"]) for step in steps.values if "policy_version" in step]
        sampled = f", samples of policy versions {min(versions)} to {max(versions)}" if versions else ""
        yield f"job {job}: {len(steps.values):,} steps{sampled}"


def _happened(event: run_pb2.RunEvent) -> str:
    kind = event.WhichOneof("happened")
    if kind in {"created", "continued", "ended"}:
        return _of_run(event)
    if kind in {"stage_began", "stage_finished", "stage_waits"}:
        return _of_stage(event)
    return _of_job(event)


def _of_run(event: run_pb2.RunEvent) -> str:
    if event.HasField("created"):
        return f"run created from recipe {event.created.recipe_hash}, {len(event.created.plan)} stages"
    if event.HasField("continued"):
        return "run continues"
    state = run_pb2.RunState.Name(event.ended.state).removeprefix("RUN_STATE_").lower()
    return f"run {state}" + (f": {event.ended.error}" if event.ended.error else "")


def _of_stage(event: run_pb2.RunEvent) -> str:
    if event.HasField("stage_began"):
        return f"stage {event.stage_began.name} begins"
    if event.HasField("stage_waits"):
        return f"stage {event.stage_waits.name} waits: {event.stage_waits.reason}"
    stage = event.stage_finished.stage
    took = duration(stage.cost.wall_seconds)
    return f"stage {stage.name} done in {took}, {stage.done:,} {stage.unit}" + (
        f"; {stage.detail}" * bool(stage.detail)
    )


def _of_job(event: run_pb2.RunEvent) -> str:
    if event.HasField("job_started"):
        started = event.job_started
        return f"job {started.job} started, attempt {started.attempt}, ranks: {started.num_processes}"
    if event.HasField("job_ended"):
        outcome = run_pb2.JobOutcome.Name(event.job_ended.outcome).removeprefix("JOB_OUTCOME_").lower()
        return f"job {event.job_ended.job} {outcome}: {event.job_ended.reason}"
    published = event.policy_published
    gap = f"requests waited {published.gap_seconds:.2f} s"
    return f"policy version {published.policy_version} served from {published.checkpoint_key}, {gap}"
