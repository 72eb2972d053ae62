"""Retrograde's tasks as an environment of verifiers: with this folder on PYTHONPATH, the task set `verifiers-tasks`.

--env.taskset.source countdown --env.taskset.task.verifier HOST:PORT
"""

from retrograde.interop.verifiers_tasks import RetrogradeTaskset

__all__ = ["RetrogradeTaskset"]
