"""The tables of the detector as it is mounted, and of what the transmission is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from daemon.settings.section import Positive, Section


def _ordered(region: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    top, bottom, left, right = region
    if not (0 <= top < bottom and 0 <= left < right):
        raise ValueError(
            f"must be [y0, y1, x0, x1] with 0 <= y0 < y1 and 0 <= x0 < x1, not {list(region)}"
        )
    return region


Region = Annotated[tuple[int, int, int, int], AfterValidator(_ordered)]
"""Rows y0 … y1 − 1 and columns x0 … x1 − 1 of the mounted image, before binning."""


class DetectorSettings(Section):
    """The detector: its bad pixels and gains, as the files have them, and how it is mounted."""

    mask: Path | None = Field(None, description="image of the bad pixels: what is not 0 is bad")
    gain: Path | None = Field(
        None, description="image of the gain, by which counts are divided (counts per photon)"
    )
    flatfield: Path | None = Field(
        None, description="image of the detector's own factors, by which counts are multiplied"
    )
    saturation_value: Positive | None = Field(
        None,
        description="pixels with so many counts or more are invalid [counts]; if not given, what "
        "the detector states, and always the largest value of an unsigned type",
    )
    invalid_below: float | None = Field(
        None,
        allow_inf_nan=False,
        description="pixels with fewer counts are invalid [counts]; 0 for negative marks of gaps",
    )
    rotation_deg: Literal[0, 90, 180, 270] = Field(
        0, description="how far images are turned, clockwise on the screen, before anything else"
    )
    flip_x: bool = Field(False, description="exchange left and right, after the rotation")
    flip_y: bool = Field(False, description="exchange top and bottom, after the rotation")
    roi: Region | None = Field(
        None,
        description="region of interest [y0, y1, x0, x1] of the turned and flipped image [px]; "
        "all of it if not given",
    )
    binning: int = Field(
        1, ge=1, description="so many by so many pixels become one, after the correction"
    )
    binning_mode: Literal["mean", "sum"] = Field("mean", description="of the pixels in a bin")

    @model_validator(mode="after")
    def _bins_in_region(self) -> DetectorSettings:
        if self.roi is not None:
            top, bottom, left, right = self.roi
            if min(bottom - top, right - left) < self.binning:
                raise ValueError(
                    f"roi = {list(self.roi)} is smaller than one bin of binning = {self.binning}"
                )
        return self


class TransmissionSettings(Section):
    """What the transmission is compared with."""

    monitor: bool = Field(
        True, description="divide frames by their monitor value, where they have one"
    )
    free_air: Region | None = Field(
        None,
        description="region without sample, [y0, y1, x0, x1] as detector.roi: the median of the "
        "transmission in it becomes 1, whatever the monitor says",
    )
