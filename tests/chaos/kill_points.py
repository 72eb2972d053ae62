"""Where each service is killed, in the order in which its lives come to it; see killable.py."""

from __future__ import annotations

SEARCH = (
    "SIGKILL before join",
    "SIGKILL after join",
    "SIGKILL after poll",
    "SIGKILL after GET recipe.json",
    "SIGKILL after PUT tree-logs",  # the log is opened, nothing asked
    "SIGKILL before PUT tree-logs 4",  # mid-expansion: replies are there and not durable
    "SIGKILL half PUT tree-logs 5",
    "SIGKILL after PUT tree-logs 6",  # mid-expansion: durable, and without effect yet
    "SIGKILL before PUT trees",
    "SIGKILL half PUT trees",
    "SIGKILL after PUT trees",  # after put, before publish
    "SIGKILL after publish trees",  # after publish, before commit
    "SIGKILL after DELETE tree-logs",
    "SIGKILL before commit",
    "SIGKILL after commit",
    "SIGKILL after revoke",
    "SIGTERM after poll; SIGKILL before leave",  # while it drains
    "SIGKILL before publish problems.dlq",
    "SIGKILL after publish problems.dlq",
)
REWRITER = (
    "SIGKILL before join",
    "SIGKILL after join",
    "SIGKILL after poll",
    "SIGKILL after GET recipe.json",
    "SIGKILL after GET trees",
    "SIGKILL before PUT solutions",
    "SIGKILL half PUT solutions",
    "SIGKILL after PUT solutions",  # after put, before publish
    "SIGKILL after publish solutions",  # after publish, before commit
    "SIGKILL before commit",
    "SIGKILL after commit",
    "SIGKILL after revoke",
    "SIGTERM after poll; SIGKILL before leave",  # while it drains
    "SIGKILL before publish trees.dlq",
    "SIGKILL after publish trees.dlq",
)
TRAINER = (
    "SIGKILL before PUT run.pb",
    "SIGKILL after PUT run.pb",
    "SIGKILL half PUT problems",
    "SIGKILL after PUT problems",
    "SIGKILL after POST begin",
    "SIGKILL half PUT part",
    "SIGKILL after PUT part",  # mid-multipart
    "SIGKILL before POST complete",
    "SIGKILL after POST complete",  # mid-checkpoint: between its files
    "SIGKILL before PUT manifest",
    "SIGKILL after PUT manifest",
    "SIGKILL after publish problems 5",  # in the middle of the queue
    "SIGKILL before PUT published.json",  # all published, and not noted
    "SIGKILL after join",  # while trees grow
    "SIGKILL after GET trees",
    "SIGKILL before PUT evaluations",
    "SIGKILL before PUT datasets",
    "SIGKILL half PUT datasets 2",
    "SIGKILL after PUT datasets",  # one of the two
    "SIGKILL after PUT datasets 2",
    "SIGKILL before PUT report.json",
)
VERIFIER = (
    "SIGKILL before nursery",
    "SIGKILL after nursery",
    "SIGKILL before fork",
    "SIGKILL after fork",
    "SIGKILL before serve",
    "SIGKILL before verify",
    "SIGKILL before chunk",
    "SIGKILL before grading",  # a child has the chunk
    "SIGKILL after grading",
    "SIGKILL after chunk",
    "SIGKILL after verify",  # graded, and not answered
    "SIGTERM before verify; SIGKILL before close",  # while it drains
)
ROLLOUTS = (
    "SIGKILL before serve",
    "SIGKILL before PUT feeds",  # of the feed's description
    "SIGKILL after PUT feeds",
    "SIGKILL half PUT feeds",  # of the session
    "SIGKILL after open",  # open, and not answered
    "SIGKILL after GET problems",
    "SIGKILL before sample",
    "SIGKILL after sample",  # graded, and not leased
    "SIGKILL half PUT feeds 2",  # of a lease
    "SIGKILL after lease",  # leased, and not delivered
    "SIGKILL after lease 3",  # some are delivered
    "SIGKILL before ack",
    "SIGKILL after ack",  # noted, and not answered
)
INFERENCE = (
    "SIGKILL before serve",
    "SIGKILL before GET manifest",
    "SIGKILL after GET manifest",  # known, and nothing of it fetched
    "SIGKILL before GET model.safetensors",
    "SIGKILL after GET model.safetensors",  # in the midst of fetching
    "SIGKILL after prepare",  # on the disk, and not loaded
    "SIGKILL before load",  # requests wait
    "SIGKILL before PUT current.json",  # in the engine, and not published
    "SIGKILL half PUT current.json",
    "SIGKILL after PUT current.json",  # published, and not served
    "SIGKILL after load",
    "SIGKILL after swap",  # served, and whoever asked for it was not answered
    "SIGKILL before draw",
    "SIGKILL after token 100",  # in the midst of answers
    "SIGKILL after draw 60",  # answered by the engine only
    "SIGTERM before draw 40; SIGKILL before close",  # told to stop in the midst of answers, and drained
    "SIGTERM before load; SIGKILL before close",  # told to stop in the midst of a swap
)
JOB = (
    "SIGKILL after GET manifest",  # of the checkpoint it starts from
    "SIGKILL after GET datasets",
    "SIGKILL before PUT steps",
    "SIGKILL after PUT steps 2",
    "SIGKILL before PUT state",  # mid-checkpoint, in all of these
    "SIGKILL half PUT state",
    "SIGKILL after PUT state",  # between its files
    "SIGKILL before PUT manifest",
    "SIGKILL after PUT manifest",
    "SIGKILL before PUT complete",
    "SIGKILL after PUT complete",
    "SIGKILL half PUT checkpoints",  # the weights it ends with
    "SIGKILL after PUT checkpoints 2",
    "SIGKILL after DELETE state",
)
GRPO = (
    "SIGKILL after GET manifest",  # of the checkpoint it starts from
    "SIGKILL before asking",  # its weights are served
    "SIGKILL before pull",
    "SIGKILL after pull",  # groups are held, and not trained on
    "SIGKILL half PUT policies",  # the weights of the first step
    "SIGKILL after PUT policies",
    "SIGKILL before asking 2",  # they are served
    "SIGKILL before PUT steps",
    "SIGKILL after PUT steps 2",  # trained on, and in no save
    "SIGKILL half PUT state",  # mid-checkpoint, in all of these
    "SIGKILL before PUT complete",
    "SIGKILL after PUT complete",  # saved, and not acknowledged
    "SIGKILL before ack",
    "SIGKILL after ack",
    "SIGKILL after DELETE policies",  # those nobody will load again
    "SIGKILL half PUT checkpoints",  # the weights it ends with
    "SIGKILL after PUT checkpoints 2",
    "SIGKILL after DELETE state",
)
PLANS = {"search": SEARCH, "rewriter": REWRITER, "trainer": TRAINER, "verifier": VERIFIER}
