"""The verifier: batches of answers graded in processes that can always be killed.

    servicer.py    Verify: checks the request, asks the pool, answers in order
    pool.py        items of all callers in turn -> chunks -> workers; retries, and verdicts for what was killed
    worker.py      one child seen from outside: sends a chunk, watches the clock, kills
    nursery.py     the fork server seen from outside: new children in milliseconds
    forkserver.py  a process that has imported all tasks and forks when told
    child.py       the grading loop, under a memory limit
    progress.py    16 shared bytes by which a child says which item it is at, and is told where to stop

What a text does to its child touches no other item: a child that is late at one item gives the rest of its chunk back
at once, is killed at the deadline (TIMEOUT), and another takes its seat meanwhile. A child that dies by itself has its
item tried once more elsewhere (then ERROR). Neither is ever INCORRECT.
"""
