"""How much is measured: everything, or what two cores do in three minutes."""

from __future__ import annotations

from dataclasses import dataclass

from models.evaluation.noise import NOISE
from models.evaluation.run_time import SIDES_PX
from simulator.deformation import PATCHES_PX


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of patterns, sizes in px and levels of all studies.

    `patterns` are of the random maps, `shift_patterns` of the constant shifts, `few` of the range
    of shifts, of sigma, of noise and of windows.
    """

    patterns: int = 12
    shift_patterns: int = 10
    few: int = 4
    pattern_px: int = 256
    patches_px: tuple[int, ...] = PATCHES_PX
    noise: tuple[float, ...] = NOISE
    windows_px: tuple[int, ...] = (7, 9, 11, 15, 19, 25, 31, 41, 49)
    star_patterns: int = 10
    star_shape: tuple[int, int] = (501, 2000)
    window_star_patterns: int = 4
    window_star_shape: tuple[int, int] = (129, 2000)
    sides_px: tuple[int, ...] = (*SIDES_PX, 1024, 2048)
    repeats: int = 3
    sine_scans: int = 4
    sine_shape: tuple[int, int] = (512, 512)

    @property
    def least_side_px(self) -> int:
        """Of all frames: no window may be larger."""
        return min(
            self.pattern_px, *self.star_shape, *self.window_star_shape, *self.sides_px,
            *self.sine_shape,
        )  # fmt: skip


FULL = Plan()
QUICK = Plan(
    patterns=4,
    shift_patterns=4,
    few=2,
    pattern_px=192,
    noise=(0.0, 0.01, 0.03, 0.06),
    windows_px=(11, 25, 49),
    star_patterns=3,
    star_shape=(129, 1000),
    window_star_patterns=2,
    window_star_shape=(97, 1000),
    sides_px=SIDES_PX,
    repeats=1,
    sine_scans=1,
    sine_shape=(128, 512),
)
