"""Stored trees, from a file or from the URL of one."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError

from retrograde.core.tree import SearchTree
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import tree_pb2
from retrograde.wire.convert import tree_from_proto

_SCHEME = "file://"


def read_tree(place: str) -> SearchTree:
    """The tree stored at a path or file:// URL. Raises InvalidInputError when there is none."""
    if "://" in place and not place.startswith(_SCHEME):
        raise InvalidInputError(f"{place}: this build reads files; write a path or file:///ABSOLUTE/PATH.pb")
    path = Path(place.removeprefix(_SCHEME)).expanduser()
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise InvalidInputError(
            f"{path}: a folder; name one tree, for example build/demo/trees/PROBLEM.pb (an unfinished tree is a log in "
            "its run's tree-logs/, which only the search service replays)"
        ) from error
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
