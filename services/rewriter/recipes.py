"""The recipes of the runs at work, each read once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from pydantic import ValidationError

from retrograde.recipe.recipe import Recipe
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.objects import ObjectStore

_MOST_KEPT = 64


class Recipes:
    """Recipes by object key; an object of that kind never changes, so the newest ones are kept."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._kept: OrderedDict[str, Recipe] = OrderedDict()

    async def get(self, key: str) -> Recipe:
        """The recipe stored as JSON under `key`. Raises NotFoundError, and InvalidInputError if it is none."""
        recipe = self._kept.get(key)
        if recipe is None:
            recipe = self._kept[key] = _parse(key, await asyncio.to_thread(self._store.get, key))
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return recipe


def _parse(key: str, data: bytes) -> Recipe:
    try:
        return Recipe.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]
        path = ".".join(str(part) for part in fault["loc"])
        raise InvalidInputError(f"{key}: {path}: {fault['msg']}; store the recipe of the run as JSON there") from error
