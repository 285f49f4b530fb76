"""Structured mutations: a tree of fields changed in a few places."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any

from tests.fuzz import hostile, images
from tests.fuzz.layers import Tagged


class Place:
    """A value in a tree: how it is read, replaced, and taken out of it."""

    __slots__ = ("_container", "_key", "removable")

    def __init__(self, container: Any, key: Any) -> None:
        self._container = container
        self._key = key
        self.removable = not isinstance(container, Tagged)

    def read(self) -> Any:
        """The value."""
        return self._container.value if not self.removable else self._container[self._key]

    def replace(self, value: Any) -> None:
        """Another value instead."""
        if self.removable:
            self._container[self._key] = value
        else:
            self._container.value = value

    def remove(self) -> None:
        """No value."""
        del self._container[self._key]


def changed(tree: Any, rng: random.Random, kinds: str) -> Any:
    """The tree with one to three values changed; it is changed in place where it can be."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(tree))
        if not places or rng.random() < 0.02:
            return hostile.value(rng, kinds)
        place = rng.choice(places)
        match rng.randrange(10):
            case 0 if place.removable:
                place.remove()
            case 1:
                place.replace(copy.deepcopy(rng.choice(places).read()))
            case 2 | 3 | 4:
                place.replace(_near(place.read(), rng))
            case 5 if isinstance(tree, dict):
                tree[
                    rng.choice(["role", "kind", "shape", "user_data", "ndattr", "", "z" * 500])
                ] = hostile.value(rng, kinds)
            case _:
                place.replace(hostile.value(rng, kinds))
    return tree


def _places(tree: Any, depth: int = 0) -> Iterator[Place]:
    if depth > 6:
        return
    keys: Any = ()
    if isinstance(tree, dict):
        keys = list(itertools.islice(tree, 40))
    elif isinstance(tree, list):
        keys = range(min(len(tree), 20))
    elif isinstance(tree, Tagged):
        yield Place(tree, None)
        yield from _places(tree.value, depth + 1)
    for key in keys:
        yield Place(tree, key)
        yield from _places(tree[key], depth + 1)


def _near(value: Any, rng: random.Random) -> Any:
    """A value that is almost the right one."""
    match value:
        case bool():
            return rng.choice([not value, int(value), str(value)])
        case int():
            near = [
                value + 1,
                value - 1,
                value * 2,
                -value,
                float(value % 2**64),
                str(value),
                [value],
            ]
            return rng.choice([*near, value + 2**32, value ^ 1 << rng.randrange(64), value % 7])
        case float():
            return rng.choice([-value, value * 1e300, 0.0, float("nan"), str(value), 7])
        case str():
            near_texts = [value.upper(), value[:-1], value + "\n", value * 60, [value], value + "1"]
            return rng.choice([*near_texts, value.encode("utf-8", "replace").hex(), {value: value}])
        case bytes():
            return images.damaged(value, rng)
        case list():
            return rng.choice([value[::-1], value[:-1], [*value, 1], [value], [*value, *value], {}])
        case dict():
            return rng.choice([list(value), {}, [value], dict(list(value.items())[1:])])
        case Tagged():
            number = rng.choice([value.number ^ 1 << rng.randrange(12), value.number + 1, 40, 1040])
            retagged = Tagged(number, value.value)
            return rng.choice([retagged, retagged, value.value, Tagged(40, value), [value]])
    return [value]
