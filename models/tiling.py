"""Cutting a frame into tiles that overlap by as much as a network can see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tile:
    """`read` is what goes into the network, `keep` what is taken of it, both as (rows, columns)."""

    read: tuple[slice, slice]
    keep: tuple[slice, slice]

    @property
    def inner(self) -> tuple[slice, slice]:
        """`keep` relative to `read`."""
        rows, columns = (
            slice(k.start - r.start, k.stop - r.start)
            for k, r in zip(self.keep, self.read, strict=True)
        )
        return rows, columns


def tiles(shape: tuple[int, int], most_px: int, halo: int, multiple: int) -> Iterator[Tile]:
    """Tiles of at most `most_px` pixels, halo included, that begin at whole multiples.

    One tile where the frame fits. `shape` must be whole multiples as well.
    """
    if shape[0] * shape[1] <= most_px:
        whole = (slice(0, shape[0]), slice(0, shape[1]))
        yield Tile(whole, whole)
        return
    halo = math.ceil(halo / multiple) * multiple
    core = max(multiple, (math.isqrt(most_px) - 2 * halo) // multiple * multiple)
    for rows in _spans(shape[0], core, halo, multiple):
        for columns in _spans(shape[1], core, halo, multiple):
            yield Tile((rows[0], columns[0]), (rows[1], columns[1]))


def _spans(length: int, core: int, halo: int, multiple: int) -> Iterator[tuple[slice, slice]]:
    count = math.ceil(length / core)
    core = math.ceil(length / count / multiple) * multiple  # all of about one size
    for start in range(0, length, core):
        stop = min(length, start + core)
        yield slice(max(0, start - halo), min(length, stop + halo)), slice(start, stop)
