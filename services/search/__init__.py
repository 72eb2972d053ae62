"""The search service: many Monte-Carlo tree searches at once on one inference pool.

worker    problems topic -> one tree per problem in the store -> trees topic
servicer  one problem searched while the caller looks on
driver    asks what a TreeSearch wants to know, logs the answer, feeds it
tree_log  a tree is a log of its calls: any worker continues it
grading   what many trees want graded, in few calls
"""
