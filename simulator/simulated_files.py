"""Frames as TIFF, pairs and truth as NumPy: what `cade simulate phantom` and `pairs` write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from cade.errors import UsageError
from simulator.detector import Counts
from simulator.pairs import PairSample
from simulator.projection import Truth

TRUTH = "truth.npz"
"""Written last: a folder that has it is complete."""


def check_new(path: Path) -> None:
    """Refuse an output that exists; an empty folder is as good as none.

    Raises:
        UsageError: the file exists, or the folder holds something.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise UsageError(f"{path} exists already; choose another output, or remove it first")


def write_scan(
    folder: Path,
    references: Iterable[Counts],
    samples: Iterable[tuple[Counts, Truth]],
    flats: Iterable[Counts] = (),
    darks: Iterable[Counts] = (),
) -> None:
    """`dark_000.tif`, `flat_000.tif`, `reference_000.tif` …, `sample_0000.tif` …, `truth.npz`.

    The latter has the fields of `Truth`, `(n, H, W)` float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for role, images in (("dark", darks), ("flat", flats), ("reference", references)):
        for index, image in enumerate(images):
            tifffile.imwrite(folder / f"{role}_{index:03d}.tif", image)
    truths = []
    for index, (image, truth) in enumerate(samples):
        tifffile.imwrite(folder / f"sample_{index:04d}.tif", image)
        truths.append(truth)
    fields = {
        field.name: np.stack([getattr(truth, field.name).numpy() for truth in truths])
        for field in dataclasses.fields(Truth)
    }
    _save(folder / TRUTH, fields)


def write_pairs(output: Path, pairs: Iterable[PairSample]) -> None:
    """Pairs into one `.npz`, or into a folder of TIFF files with `truth.npz`; counts in float32.

    Arrays `(n, H, W)`: `reference`, `sample` (only in the single file), `ux_px`, `uy_px` and
    `transmission`, which is absorption times focusing.
    """
    kept: list[PairSample] = []
    single = output.suffix == ".npz"
    (output.parent if single else output).mkdir(parents=True, exist_ok=True)
    for index, pair in enumerate(pairs):
        kept.append(pair)
        if not single:
            tifffile.imwrite(output / f"reference_{index:04d}.tif", pair.reference[0].numpy())
            tifffile.imwrite(output / f"sample_{index:04d}.tif", pair.sample[0].numpy())
    fields = {
        "ux_px": torch.cat([pair.displacement_px[:, 0] for pair in kept]).numpy(),
        "uy_px": torch.cat([pair.displacement_px[:, 1] for pair in kept]).numpy(),
        "transmission": torch.cat([pair.transmission for pair in kept]).numpy(),
    }
    if single:
        fields["reference"] = torch.cat([pair.reference for pair in kept]).numpy()
        fields["sample"] = torch.cat([pair.sample for pair in kept]).numpy()
    _save(output if single else output / TRUTH, fields)


def _save(path: Path, fields: dict[str, NDArray[np.float32]]) -> None:
    """Under its own name only when it is complete."""
    partial = path.with_name(f"{path.stem}.part.npz")
    np.savez(partial, allow_pickle=False, **fields)
    partial.replace(path)
