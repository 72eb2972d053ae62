"""Other trainers on Retrograde's data and rollouts: their formats to and fro, and the bridges they take.

rollouts    the feed of a rollouts service, for trainers that are not asynchronous
trl         TRL: data sets, and what GRPOTrainer takes to train on a feed
verl        verl: parquet of problems, the output of an agent loop
openrlhf    OpenRLHF: its Experience
verifiers   verifiers and prime-rl: episodes of traces; verifiers_tasks has our tasks as a task set of theirs

Nothing here needs those packages to be imported: what makes an object of theirs imports it when it is called.
docs/interop.md says which versions it was tested with.
"""
