"""Answers on which two graders disagree, as they are kept for review: one JSON object each, under a key of its content.

The same disagreement met again is the same object.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from retrograde.runtime.errors import DataLossError
from retrograde.runtime.objects import ObjectStore

PREFIX = "disagreements/"
_KEY_CHARS = 32


@dataclass(frozen=True, slots=True)
class Opinion:
    """One grader's verdict and its reason."""

    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`answer` is the text that was judged; the end of it, if it is long."""

    answer: str
    gold: str
    question: str
    task: str
    ours: Opinion
    theirs: Opinion

    @property
    def key(self) -> str:
        """Where it is kept."""
        digest = hashlib.sha256(self.to_json())
        return f"{PREFIX}{digest.hexdigest()[:_KEY_CHARS]}.json"

    def to_json(self) -> bytes:
        """The object's bytes."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True).encode()


def read_disagreements(store: ObjectStore) -> Iterator[Disagreement]:
    """All that the store holds, in the order of their keys. Raises DataLossError naming an object that is none."""
    for key in store.list(PREFIX):
        try:
            record = json.loads(store.get(key))
            ours, theirs = Opinion(**record.pop("ours")), Opinion(**record.pop("theirs"))
            yield Disagreement(**record, ours=ours, theirs=theirs)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataLossError(f"{key}: is no disagreement ({error}); delete the object") from error
