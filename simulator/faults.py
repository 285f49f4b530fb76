"""Faults of a stream on request: how many of each, and which images they meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Literal, get_args

import numpy as np

from cade.errors import UsageError

ImageFault = Literal["drop", "duplicate", "reorder", "truncate", "corrupt", "wrong_shape"]


@dataclass(frozen=True, slots=True)
class Faults:
    """How many of each.

    The first six meet images, at most one each, and never the first image of a series, from which
    some formats know what a series is. `drop`: it is not sent. `duplicate`: it is sent twice.
    `reorder`: it is sent behind the next one, so that two images are met. `truncate`: its message
    ends half-way. `corrupt`: its message is damaged where the format can notice. `wrong_shape`: it
    is sent in another shape.

    The others come beside the images. `stall`: a pause in mid-series. `stray_series`: an image of
    another series in mid-series, as a late one of an aborted series. `stray`: an image after the
    end of its series.
    """

    drop: int = 0
    duplicate: int = 0
    reorder: int = 0
    truncate: int = 0
    corrupt: int = 0
    wrong_shape: int = 0
    stall: int = 0
    stray_series: int = 0
    stray: int = 0

    def __str__(self) -> str:
        """Those that there are, as `2 drop, 1 stray`; empty where there are none."""
        counts = zip(fields(self), astuple(self), strict=True)
        return ", ".join(f"{count} {field.name}" for field, count in counts if count)


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """Which images of one series are met, by their number.

    Of a "reorder" `images` has the first of the two. A stall or a stray image of another series
    comes behind the image whose number is in `stalls` or `stray_series`.
    """

    images: Mapping[int, ImageFault]
    stalls: frozenset[int]
    stray_series: frozenset[int]
    strays: int


def plan_faults(faults: Faults, image_counts: Sequence[int], seed: int) -> tuple[SeriesPlan, ...]:
    """Where every fault goes, for each series; drawn at random, the same for the same seed.

    Args:
        faults: how many.
        image_counts: images of each series, at least one.
        seed: from 0.

    Raises:
        UsageError: there are more faults than images that they can meet.
    """
    draw = np.random.default_rng(seed)
    pairs, singles = _places(draw, faults.reorder, image_counts)
    met = [kind for kind in get_args(ImageFault) if kind != "reorder"]
    kinds: list[ImageFault] = [kind for kind in met for _ in range(getattr(faults, kind))]
    _check_room(len(kinds), len(singles), "this many faults")
    images: list[dict[int, ImageFault]] = [{} for _ in image_counts]
    for series, number in pairs:
        images[series][number] = "reorder"
    for place, kind in zip(draw.permutation(len(singles)), kinds, strict=False):
        series, number = singles[place]
        images[series][number] = kind
    stalls = _behind(draw, faults.stall, image_counts, "stall")
    strangers = _behind(draw, faults.stray_series, image_counts, "stray_series")
    count = len(image_counts)
    strays = [faults.stray // count + (n < faults.stray % count) for n in range(count)]
    return tuple(
        SeriesPlan(images[n], stalls[n], strangers[n], strays[n]) for n in range(len(image_counts))
    )


Place = tuple[int, int]
"""A series, and an image in it."""


def _places(
    draw: np.random.Generator, pair_count: int, image_counts: Sequence[int]
) -> tuple[list[Place], list[Place]]:
    """First images of disjoint pairs, and all the images that are in none."""
    room = [series for series, n in enumerate(image_counts) for _ in range((n - 1) // 2)]
    _check_room(pair_count, len(room), "this many reorder")
    chosen = [room[index] for index in draw.permutation(len(room))[:pair_count]]
    pairs: list[Place] = []
    singles: list[Place] = []
    for series, image_count in enumerate(image_counts):
        taken = chosen.count(series)
        lengths = draw.permutation([2] * taken + [1] * (image_count - 1 - 2 * taken))
        number = 1
        for length in lengths:
            (pairs if length == 2 else singles).append((series, number))
            number += int(length)
    return pairs, singles


def _behind(
    draw: np.random.Generator, count: int, image_counts: Sequence[int], what: str
) -> list[frozenset[int]]:
    """Different images that are not the last of their series, for each series."""
    room = [(series, number) for series, n in enumerate(image_counts) for number in range(n - 1)]
    _check_room(count, len(room), f"this many {what}")
    chosen = [room[index] for index in draw.permutation(len(room))[:count]]
    return [
        frozenset(number for series, number in chosen if series == wanted)
        for wanted in range(len(image_counts))
    ]


def _check_room(count: int, room: int, what: str) -> None:
    if count > room:
        raise UsageError(
            f"emulator: {what} ({count}) do not fit: there is room for {room}, because each meets "
            "an image of its own, and never the first of a series; ask for fewer, or send more"
        )
