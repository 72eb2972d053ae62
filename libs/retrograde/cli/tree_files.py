"""Trees, stored ones from a file or its URL, unfinished ones from the folder of their log."""

from __future__ import annotations

import json
from pathlib import Path

from google.protobuf.message import DecodeError

from retrograde.core.problem import Problem, Provenance
from retrograde.core.search import SearchError
from retrograde.core.searches import make_search
from retrograde.core.tree import SearchTree
from retrograde.recipe.recipe import Recipe
from retrograde.runtime.errors import InvalidInputError
from retrograde.tasks.task import TaskError, load_task
from retrograde.v1 import tree_pb2
from retrograde.wire.convert import tree_from_proto
from retrograde.wire.recipes import parse_settings
from retrograde.wire.tree_logs import BrokenChainError, SegmentName, read_chain, replay

_SCHEME = "file://"


def read_tree(place: str) -> SearchTree:
    """The tree stored at a path or file:// URL, or as its log there makes it. Raises InvalidInputError for others."""
    if "://" in place and not place.startswith(_SCHEME):
        raise InvalidInputError(f"{place}: this build reads files; write a path or file:///ABSOLUTE/PATH.pb")
    path = Path(place.removeprefix(_SCHEME)).expanduser()
    if path.is_dir():
        return _read_log(path.absolute())
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}; name a stored tree") from error
    try:
        message = tree_pb2.SearchTree.FromString(data)
    except DecodeError as error:
        raise InvalidInputError(f"{path}: not a stored tree ({error}); name a .pb of a run's trees/") from error
    if not message.nodes:
        raise InvalidInputError(f"{path}: holds no nodes; name a .pb of a run's trees/")
    try:
        return tree_from_proto(message)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def _read_log(folder: Path) -> SearchTree:
    """The tree that the log in `runs/RUN/tree-logs/PROBLEM` makes, by the run's recipe."""
    names = [name for each in folder.iterdir() if (name := SegmentName.parse(each.name))]
    if not names:
        raise InvalidInputError(
            f"{folder}: a folder without a tree's log; name a tree such as build/demo/trees/PROBLEM.pb, or the log of "
            "an unfinished one, which is a folder in its run's tree-logs/"
        )
    run = folder.parent.parent
    try:
        recipe = parse_settings(Recipe, (run / "recipe.json").read_bytes(), f"{run}/recipe.json")
        problem = _problem(run / "problems/search.jsonl", folder.name)
        records = read_chain(names, lambda name: (folder / name).read_bytes()).records
        tree = SearchTree(problem, provenance=Provenance(run.name, recipe.hash, seed=recipe.seed))
        search = make_search(tree, load_task(problem.task), recipe.search)
        replay(search, records, in_order=recipe.search.feed_order == "index")
    except (OSError, BrokenChainError, TaskError, SearchError) as error:
        raise InvalidInputError(f"{folder}: the log cannot be replayed: {error}") from error
    return tree


def _problem(file: Path, problem_id: str) -> Problem:
    """That of the run's problems. Raises InvalidInputError when it is none of them."""
    for line in file.read_text(encoding="utf-8").splitlines():
        problem = Problem(**json.loads(line))
        if problem.id == problem_id:
            return problem
    raise InvalidInputError(f"{file}: has no problem {problem_id!r}; the folder of a log has the name of its problem")
