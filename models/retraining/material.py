"""What a retraining trains on and is judged by, out of a beamline's files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.retraining.measured_pattern import MeasuredPattern, measured_pattern
from models.retraining.noise import NoiseLevel, stated_noise, typical_counts
from models.retraining.pieces import Pieces, cut_patterns
from models.retraining.recordings import (
    AveragedRecording,
    FrameFile,
    Recording,
    average_recording,
    group_files,
)

FINE_SPECKLE_PX = 2.5
"""Finer speckle suffers from being warped between pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Pieces of references, the noise of a frame (`counts` = N0), and what was found in words."""

    pieces: Pieces
    counts: float
    patterns: tuple[dict[str, Any], ...]
    remarks: tuple[str, ...]


def gather_material(
    files: Sequence[FrameFile],
    *,
    gain: torch.Tensor | None = None,
    counts: float | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> Material:
    """Average, measure and cut the references.

    Args:
        files: frames with the dark taken off; files of one pattern are found and put together.
        gain: `(H, W)` that a flat gives.
        counts: N0 if the user knows it; otherwise it is measured.
        report: told of every pattern, in words.

    Raises:
        CadeError: something in the files cannot be used; the message names it.
    """
    recordings, overlaps = group_files(files, gain)
    patterns: list[MeasuredPattern] = []
    levels: list[NoiseLevel] = []
    table = []
    for recording in recordings:
        average = average_recording(recording, gain)
        noise = average.noise if counts is None else stated_noise(counts)
        pattern = measured_pattern(average, noise)
        patterns.append(pattern)
        levels.append(noise)
        table.append(_row(recording, average, noise, pattern))
        report(_line(average, noise, pattern))
    chosen = typical_counts(_best(levels))
    pieces = cut_patterns(patterns, overlaps)
    return Material(pieces, chosen, tuple(table), tuple(_remarks(levels, patterns, len(overlaps))))


def _best(levels: Sequence[NoiseLevel]) -> list[NoiseLevel]:
    """Levels from repeats where there are any: a spectrum only guesses."""
    measured = [level for level in levels if not math.isnan(level.gain)]
    return measured or list(levels)


def _row(
    recording: Recording, average: AveragedRecording, noise: NoiseLevel, pattern: MeasuredPattern
) -> dict[str, Any]:
    """For the card."""
    row = {
        "files": [Path(file.name).name for file in recording.files],
        "frames": average.frame_count,
        "visibility": round(pattern.speckle.visibility, 4),
        "fwhm_px": round(pattern.speckle.fwhm_px, 2),
        "counts": round(noise.counts, 1),
        "noise_from": noise.origin,
    }
    measured = {"gain": noise.gain, "read_noise": noise.read, "drift_px": average.drift_px}
    return row | {k: float(f"{v:.4g}") for k, v in measured.items() if not math.isnan(v)}


def _line(average: AveragedRecording, noise: NoiseLevel, pattern: MeasuredPattern) -> str:
    frames = "1 frame" if average.frame_count == 1 else f"{average.frame_count} frames"
    known = average.frame_count > 1 and not math.isnan(average.drift_px)
    drift = f", drift up to {average.drift_px:.2f} px" if known else ""
    return (
        f"{average.name}: {frames}{drift}, speckle {pattern.speckle.fwhm_px:.1f} px, visibility "
        f"{pattern.speckle.visibility:.1%}, N0 = {noise.counts:.0f} ({noise.origin})"
    )


def _remarks(
    levels: Sequence[NoiseLevel], patterns: Sequence[MeasuredPattern], overlaps: int
) -> list[str]:
    """What the user should know."""
    remarks = []
    if all("spectrum" in level.origin for level in levels):
        remarks.append(
            "there are no repeated frames: the noise is a guess from the highest frequencies of "
            "single frames; give several frames of a pattern, or --counts"
        )
    fine = min(p.speckle.fwhm_px for p in patterns)
    if fine < FINE_SPECKLE_PX:
        remarks.append(
            f"speckles of {fine:.1f} px are finer than {FINE_SPECKLE_PX} px: warped between "
            f"pixels they lose some contrast, so expect less of the retraining"
        )
    if overlaps:
        remarks.append(
            f"{overlaps} pairs of references show parts of the same speckle: pieces that would "
            f"give away what is held back are left out"
        )
    return remarks
