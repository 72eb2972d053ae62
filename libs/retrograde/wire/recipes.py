"""Settings that travel as JSON: the stored recipe of a run, and the settings of a request."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from pydantic import ValidationError

from retrograde.core.settings import Settings
from retrograde.recipe.recipe import Recipe
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.objects import ObjectStore

_MOST_KEPT = 64

AnySettings = TypeVar("AnySettings", bound=Settings)


class Recipes:
    """Recipes by object key; an object of that kind never changes, so each is read once and the newest are kept."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._kept: OrderedDict[str, Recipe] = OrderedDict()

    async def get(self, key: str) -> Recipe:
        """The recipe stored as JSON under `key`. Raises NotFoundError, and InvalidInputError if it is none."""
        recipe = self._kept.get(key)
        if recipe is None:
            data = await in_thread(self._store.get, key)
            recipe = self._kept[key] = parse_settings(Recipe, data, key)
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return recipe


def parse_settings(cls: type[AnySettings], text: str | bytes, where: str) -> AnySettings:
    """`cls` from JSON; empty text takes the defaults.

    Raises InvalidInputError that names `where`, the path inside it, the value and what is wrong with it.
    """
    try:
        return cls.model_validate_json(text or "{}")
    except ValidationError as error:
        fault = error.errors()[0]
        path = ".".join([where, *(str(part) for part in fault["loc"])])
        raise InvalidInputError(f"{path}: {fault['msg']} (got {str(fault.get('input'))[:80]!r})") from error
