"""torchrun with two changes: `python -m services.trainer.job.launcher [torchrun's arguments] -m MODULE ...`.

It leaves with the status of the rank that failed first, so that whoever started it learns that a job refused its input.
It logs nothing itself: the last line of a job that refuses is the one that says why.
"""

from __future__ import annotations

import logging
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from retrograde.runtime.settings import BAD_INPUT_STATUS

_SIGNALLED = 128


def main() -> None:
    """Starts the ranks of this node and waits for them."""
    logging.disable(logging.ERROR)
    try:
        run(parse_args(None))  # type: ignore[no-untyped-call]  # torch does not annotate them
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = _SIGNALLED - failure.exitcode if failure.exitcode < 0 else failure.exitcode
        if status != BAD_INPUT_STATUS:
            sys.stderr.write(f"rank {rank} failed first, with status {status}\n")
        sys.exit(status)


if __name__ == "__main__":
    main()
