"""The grading loop of a child: chunk in, grades out, under a memory limit.

A chunk is a length and a VerifyRequest. It is answered by one or more of: position of the first grade, length, whether
this is the last one, and a VerifyResponse. The last one ends at the chunk's end, or at the limit set meanwhile.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import struct
import time

from retrograde.core.problem import Grade, Verdict
from retrograde.runtime.lifeline import die_with_parent
from retrograde.sandbox.progress import Progress
from retrograde.tasks.task import load_task
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.wire.convert import grade_to_proto, problem_from_proto

REQUEST_HEADER = struct.Struct("=I")  # bytes that follow
ANSWER_HEADER = struct.Struct("=II?")  # position of the first grade, bytes that follow, whether it is the last
_FLUSH_SECONDS = 0.02
_REASON_CHARS = 200


def run_child(connection: socket.socket, progress_fileno: int, memory_bytes: int) -> None:
    """Grades chunks until the connection closes."""
    die_with_parent()
    limit_memory(memory_bytes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress = Progress(progress_fileno)
    with connection, connection.makefile("rb") as stream:
        while header := stream.read(REQUEST_HEADER.size):
            (size,) = REQUEST_HEADER.unpack(header)
            request = pb.VerifyRequest.FromString(stream.read(size))
            _answer(connection, progress, request)


def limit_memory(extra_bytes: int) -> None:
    """Lets this process map `extra_bytes` more than it has now, and go first if the machine's memory ends."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - forked
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + extra_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123
        score.write("1000")


def _answer(connection: socket.socket, progress: Progress, request: pb.VerifyRequest) -> None:
    """Grades the items; grades are sent when the chunk is done, or when some have waited for a while."""
    answer, first, since = pb.VerifyResponse(), 0, time.monotonic()
    for position, item in enumerate(request.items):
        if position >= progress.limit:
            break
        progress.begin(position)
        answer.grades.append(grade_to_proto(_grade(item)))
        if time.monotonic() - since > _FLUSH_SECONDS:
            _send(connection, first, answer, is_last=False)
            answer, first, since = pb.VerifyResponse(), position + 1, time.monotonic()
    _send(connection, first, answer, is_last=True)


def _send(connection: socket.socket, first: int, answer: pb.VerifyResponse, *, is_last: bool) -> None:
    payload = answer.SerializeToString()
    connection.sendall(ANSWER_HEADER.pack(first, len(payload), is_last) + payload)


def _grade(item: pb.VerifyItem) -> Grade:
    """The task's own verdict; whatever it raises is a verdict of ERROR."""
    try:
        problem = problem_from_proto(item.problem)
        return load_task(problem.task).grade(problem, item.text)
    except MemoryError:
        return Grade(Verdict.ERROR, "the memory limit was reached", path="memory")
    except RecursionError:
        return Grade(Verdict.ERROR, "nested too deep", path="nesting")
    except Exception as error:  # noqa: BLE001 - a task may raise anything; its kind is reported, and counted by verdict
        return Grade(Verdict.ERROR, f"{type(error).__name__}: {error}"[:_REASON_CHARS], path="raised")
