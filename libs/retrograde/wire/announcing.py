"""The messages that announce a stored tree and a stored set of solutions, by whoever does."""

from __future__ import annotations

from retrograde.v1 import messages_pb2, solution_pb2


def tree_ready(run_id: str, problem_id: str, settings_key: str) -> messages_pb2.TreeReady:
    """For the tree of a problem."""
    tree_key = f"runs/{run_id}/trees/{problem_id}.pb"
    return messages_pb2.TreeReady(run_id=run_id, problem_id=problem_id, tree_key=tree_key, settings_key=settings_key)


def solutions_ready(run_id: str, solutions: solution_pb2.SolutionSet) -> messages_pb2.SolutionsReady:
    """For the solutions of one tree."""
    num_direct = sum(each.kind == solution_pb2.SOLUTION_KIND_DIRECT for each in solutions.solutions)
    return messages_pb2.SolutionsReady(
        run_id=run_id,
        problem_id=solutions.problem_id,
        solutions_key=f"runs/{run_id}/solutions/{solutions.problem_id}.pb",
        num_direct=num_direct,
        num_search=len(solutions.solutions) - num_direct,
    )
