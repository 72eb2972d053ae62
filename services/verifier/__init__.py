"""The verifier: batches of answers graded in processes that can always be killed.

servicer.py          Verify: checks the request, asks the pool (retrograde.sandbox), answers in order
shadow.py            judges a share of the answers again with a second grader, and keeps what the two disagree on
math_verify_task.py  that second grader; only the shadow's processes import it
"""
