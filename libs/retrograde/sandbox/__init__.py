"""Grading in processes that can always be killed: for the verifier service, its shadow, and `retrograde verify`.

    async with Pool(Limits(tasks=("my.task",))) as pool:
        grades = await pool.verify(items)

    limits.py      what a pool may use, as settings
    pool.py        two lanes of seats: items of all callers in turn -> runs
    run.py         one chunk on one worker: grades, retries, and verdicts for what was killed
    line.py        what waits, and in whose turn
    worker.py      one child seen from outside: sends a chunk, watches the clock, kills
    nursery.py     the fork server seen from outside: new children in milliseconds
    forkserver.py  a process that has imported all tasks and forks when told
    child.py       the grading loop, under a memory limit
    progress.py    24 shared bytes by which a child says which item it is at, and is told where to stop

What a text does to its child touches no other item. A child that is late at one item gives the rest of its chunk back
at once and leaves its seat: it goes on in a seat for late ones, or begins again when one is free. It is killed at the
deadline (TIMEOUT), or as soon as nobody waits for the item. A child that dies by itself has its item tried again
elsewhere (then ERROR). None of these is ever INCORRECT.
"""
