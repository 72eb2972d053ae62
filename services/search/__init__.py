"""The search service: many tree searches at once on one inference pool.

worker       problems topic -> one tree per problem in the store -> trees topic
servicer     one problem searched while the caller looks on
driver       asks what a search wants to know, logs the answers, feeds them
calls        the calls of one tree that are being asked
engine       the policy, and how much of its engine is at work
engine_gate  how many samples of all trees are with the engine, and whose turn it is
tree_log     a tree is a log of its calls: any worker continues it, only the newest finishes it
grading      what many trees want graded, in few calls
patience     a store that is away holds trees up and loses nothing
"""
