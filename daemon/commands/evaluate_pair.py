"""The frames of `cade evaluate --pair`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from cade.errors import CadeError, UsageError
from cade.files import read_frames
from models.evaluation.pair import Pair, read_truth


def read_pair(
    paths: Sequence[Path],
    flat: Path | None,
    truth: Path | None,
    free: Sequence[int] | None,
) -> Pair:
    """Reference (averaged) and sample, divided by the flat (averaged), and the truth.

    Raises:
        UsageError: more than one sample frame, or shapes that differ.
        CadeError: a file that cannot be read.
    """
    reference, _ = _average(paths[0])
    sample, samples = _average(paths[1])
    if samples > 1:
        raise UsageError(f"--pair: {paths[1]} holds {samples} frames; one sample is evaluated")
    if reference.shape != sample.shape:
        raise UsageError(
            f"--pair: {paths[0]} {tuple(reference.shape)} and {paths[1]} {tuple(sample.shape)} do "
            f"not match"
        )
    if flat is not None:
        level, _ = _average(flat)
        if level.shape != sample.shape:
            raise UsageError(
                f"--flat: {flat} {tuple(level.shape)} does not match {tuple(sample.shape)}"
            )
        level = torch.where(level > 0, level / level.clamp(min=0).mean(), torch.nan)
        reference, sample = reference / level, sample / level
    field = None if truth is None else read_truth(truth)
    region = None if free is None else (free[0], free[1], free[2], free[3])
    return Pair(reference, sample, field, region)


def _average(path: Path) -> tuple[torch.Tensor, int]:
    """The mean of a file's frames `(H, W)` float32, and how many they are."""
    total, count = torch.zeros(()), 0
    for image in read_frames(path):
        frame = torch.from_numpy(image.astype("float64"))
        if count and frame.shape != total.shape:
            raise CadeError(f"{path}: frames of different shapes")
        total, count = total + frame, count + 1
    if not count:
        raise CadeError(f"{path}: holds no frame")
    return (total / count).float(), count
