"""What `cade simulate` writes: patterns as HDF5, frames as TIFF, pairs and truth as NumPy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from cade.errors import UsageError
from simulator.detector import HALF_PIXELS
from simulator.optics import Optics
from simulator.pairs import PairSample
from simulator.pattern import Speckle, at_pixels, measure_speckle
from simulator.projection import Truth
from simulator.scan import Counts

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


def write_patterns(
    path: Path, patterns: Iterable[torch.Tensor], optics: Optics, seed: int
) -> list[Speckle]:
    """Patterns `(2H, 2W)` into one HDF5 file, and what their speckles look like.

    `/patterns` `(n, 2H, 2W)` float32, of mean one, at two samples a pixel; `/speckle_fwhm` and
    `/visibility` `(n,)` as the detector's pixels see them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    speckles: list[Speckle] = []
    with h5py.File(partial, "w", libver=("v110", "v110")) as file:
        for index, pattern in enumerate(patterns):
            if index == 0:
                shape = tuple(pattern.shape)
                stack = file.create_dataset(
                    "patterns", (0, *shape), "f4", maxshape=(None, *shape), chunks=(1, *shape)
                )
            stack.resize(index + 1, axis=0)
            stack[index] = pattern.numpy()
            speckles.append(measure_speckle(at_pixels(pattern)))
        stack.attrs.update(units="", samples_per_pixel=HALF_PIXELS, seed=seed)
        for name, value in (
            ("energy", optics.energy_ev),
            ("pixel_size", optics.pixel_size_m),
            ("source_distance", optics.source_distance_m),
            ("distance", optics.distance_m),
        ):
            file[name] = value
            file[name].attrs["units"] = "eV" if name == "energy" else "m"
        file["speckle_fwhm"] = [speckle.fwhm_px for speckle in speckles]
        file["speckle_fwhm"].attrs["units"] = "px"
        file["visibility"] = [speckle.visibility for speckle in speckles]
        file["visibility"].attrs["units"] = ""
    partial.replace(path)
    return speckles


def write_scan(
    folder: Path, references: Iterable[Counts], samples: Iterable[tuple[Counts, Truth]]
) -> None:
    """`reference_000.tif` …, `sample_0000.tif` … (uint16), and `truth.npz`.

    The latter has `ux_px`, `uy_px` and `phase_rad`, `(n, H, W)` float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(references):
        tifffile.imwrite(folder / f"reference_{index:03d}.tif", image)
    truths = []
    for index, (image, truth) in enumerate(samples):
        tifffile.imwrite(folder / f"sample_{index:04d}.tif", image)
        truths.append(truth)
    fields = {
        name: np.stack([getattr(truth, name).numpy() for truth in truths])
        for name in ("ux_px", "uy_px", "phase_rad")
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
