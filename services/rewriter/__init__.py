"""The rewriter service: stored trees to natural-language solutions.

worker    trees topic -> self-evaluation -> linearize -> tell -> check -> one solution set in the store -> its topic
servicer  Linearize and Rewrite on stored trees, for variants of the same search
judge     the policy judges its own correct solutions; judgements are kept
teller    a walk in a model's words or by template, checked by machine either way
"""
