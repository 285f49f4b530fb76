"""The one interface of all trackers: frames in, displacement out."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cade.bilinear import from_outside, source_px
from cade.displacement import Array, Displacement
from cade.errors import UsageError
from models.contrast import Contrast, averaged, measure_contrast
from models.normalisation import MEAN_SIGMA_PX, local_mean
from models.validity import reliable

LEAST_LIGHT = 0.02
"""Local mean, over that of the frame, below which there is no beam and so nothing to track."""
LIGHT_SIGMA_PX = 4.0
LEAST_SIDE_PX = 16
BEYOND_PX = 1.0
"""How far outside the reference the source of a valid pixel may lie: its speckle reaches inside."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a result must carry to be reproduced."""

    tracker: str
    parameters: dict[str, str | int | float]
    weights: str = ""
    weights_sha256: str = ""
    has_sigma: bool = False


STACK_TRACKERS = ("umpa",)
"""Those that take the frames of several diffuser positions together (`track_positions`)."""


class Tracker(ABC):
    """Finds the displacement u with I_s(x) = T(x)·I_r(x − u(x)) for every pixel.

    `least_positions` is the number of diffuser positions that it needs: 0 if it takes one pair
    only, 1 if one pair or several positions, more if a single pair is not enough.
    """

    device: torch.device
    provenance: Provenance
    least_positions: int = 0

    @abstractmethod
    def _estimate(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        """Displacement of float32 frames `(N, H, W)`, filled where `weight` is 0 (invalid)."""

    def _estimate_positions(
        self, references: torch.Tensor, samples: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        """One displacement `(1, H, W)` of float32 frames `(P, H, W)`, filled where `weight` is 0.

        For trackers whose `least_positions` is not 0.
        """
        raise NotImplementedError

    def track(self, reference: Array, sample: Array) -> Displacement[Array]:
        """Track sample frames against references.

        Args:
            reference: `(H, W)`, or `(N, H, W)` with one for each sample frame; any real dtype.
                One reference serves all sample frames.
            sample: `(H, W)` or `(N, H, W)`. NaN pixels, in either, are invalid.

        Returns:
            All fields shaped as `sample`, of its kind (NumPy or torch, on its device), float32.

        Raises:
            UsageError: frames of different shapes, too small, or not of real numbers.
        """
        if isinstance(sample, torch.Tensor):
            if not isinstance(reference, torch.Tensor):
                reference = _tensor(reference)
            return self._track(reference, sample, sample.device)
        result = self._track(_tensor(reference), _tensor(sample), torch.device("cpu"))
        return _mapped(result, lambda t: t.numpy())

    def track_positions(self, references: Array, samples: Array) -> Displacement[Array]:
        """Track one sample behind a diffuser that stood at P positions.

        Args:
            references: `(P, H, W)`, one for each position; any real dtype.
            samples: `(P, H, W)`, in the same order. NaN pixels, in either, do not count.

        Returns:
            The one displacement of all, `(H, W)`, of the kind of `samples`, float32.

        Raises:
            UsageError: a tracker that takes one pair only, too few positions, or frames of
                different shapes, too small, or not of real numbers.
        """
        if isinstance(samples, torch.Tensor):
            if not isinstance(references, torch.Tensor):
                references = _tensor(references)
            return self._track_positions(references, samples, samples.device)
        frames = _tensor(references), _tensor(samples)
        return _mapped(self._track_positions(*frames, torch.device("cpu")), lambda t: t.numpy())

    def _track_positions(
        self, references: torch.Tensor, samples: torch.Tensor, device: torch.device
    ) -> Displacement[torch.Tensor]:
        name = self.provenance.tracker
        if not self.least_positions:
            raise UsageError(
                f"{name} tracks one position of the diffuser; trackers that take several are "
                f"{', '.join(STACK_TRACKERS)}"
            )
        _check_shapes(references, samples)
        if samples.ndim != 3 or references.shape != samples.shape:
            raise UsageError(
                f"positions are (P, H, W) in references and samples alike, not "
                f"{tuple(references.shape)} and {tuple(samples.shape)}"
            )
        if len(samples) < self.least_positions:
            raise UsageError(
                f"{name} needs at least {self.least_positions} positions of the diffuser, "
                f"not {len(samples)}"
            )
        with torch.inference_mode():
            frames = (i.to(self.device, torch.float32) for i in (references, samples))
            found = self._complete_positions(*frames)
            return _mapped(found, lambda t: t[0].to(device))

    def _complete_positions(
        self, references: torch.Tensor, samples: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        """Positions `(P, H, W)`: one result `(1, H, W)`, valid where most positions agree."""
        known, reference_known, references, samples = _filled(references, samples)
        found = self._estimate_positions(references, samples, known.float())
        u = torch.stack([found.ux_px, found.uy_px], dim=1).expand(len(samples), -1, -1, -1)
        shown = (known & _shown(reference_known, u)).any(dim=0, keepdim=True)
        contrast = averaged(measure_contrast(references, samples, u[:, 0], u[:, 1], known.float()))
        return _masked(found, contrast, shown)

    def _track(
        self, reference: torch.Tensor, sample: torch.Tensor, device: torch.device
    ) -> Displacement[torch.Tensor]:
        _check_shapes(reference, sample)
        if self.least_positions > 1:
            raise UsageError(
                f"{self.provenance.tracker} needs at least {self.least_positions} positions of "
                f"the diffuser; one pair is not enough"
            )
        samples = sample[None] if sample.ndim == 2 else sample
        references = reference[None] if reference.ndim == 2 else reference
        with torch.inference_mode():
            count = self._frames_at_once((int(samples.shape[-2]), int(samples.shape[-1])))
            references = references.expand_as(samples)
            results = []
            for start in range(0, len(samples), count):
                part = slice(start, start + count)
                pair = (i[part].to(self.device, torch.float32) for i in (references, samples))
                results.append(_mapped(self._complete(*pair), lambda t: t.to(device)))
        return _stacked(results, sample)

    def _frames_at_once(self, shape: tuple[int, int]) -> int:  # noqa: ARG002 - for subclasses
        """Frames `(H, W)` that are tracked together: one, where nothing is gained by more."""
        return 1

    def _complete(
        self, reference: torch.Tensor, sample: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        """Pairs `(N, H, W)`: estimate, contrast, validity, NaN where invalid."""
        known, reference_known, reference, sample = _filled(reference, sample)
        found = self._estimate(reference, sample, known.float())
        known &= _shown(reference_known, torch.stack([found.ux_px, found.uy_px], dim=1))
        contrast = measure_contrast(reference, sample, found.ux_px, found.uy_px, known.float())
        return _masked(found, contrast, known)


def _masked(
    found: Displacement[torch.Tensor], contrast: Contrast, known: torch.Tensor
) -> Displacement[torch.Tensor]:
    """What was found, with NaN where it is invalid, and contrasts where the tracker gave none."""
    valid = found.valid & known & reliable(contrast)
    fields = {
        "ux_px": found.ux_px,
        "uy_px": found.uy_px,
        "sigma_x_px": found.sigma_x_px,
        "sigma_y_px": found.sigma_y_px,
        "transmission": contrast.transmission if found.transmission is None else found.transmission,
        "dark_field": contrast.dark_field if found.dark_field is None else found.dark_field,
    }
    masked = {k: v if v is None else v.masked_fill(~valid, torch.nan) for k, v in fields.items()}
    return Displacement(valid=valid, **masked)  # type: ignore[arg-type]


def _filled(
    reference: torch.Tensor, sample: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which pixels are known, in both frames and in the reference; the frames `(N, H, W)`, filled.

    Known is what is finite and in the beam; the others get the frame's local mean. Neither zeros
    nor the ratio of two dark pixels may look like speckle that has not moved.
    """
    finite = torch.isfinite(reference) & torch.isfinite(sample)
    frames = [torch.where(finite, image, 0.0) for image in (reference, sample)]
    dark = [_dark(image, finite) for image in frames]
    known = finite & ~(dark[0] | dark[1])
    if not known.all():
        means = [local_mean(image, MEAN_SIGMA_PX, known.float()) for image in frames]
        frames = [torch.where(known, i, m) for i, m in zip(frames, means, strict=True)]
    return known, torch.isfinite(reference) & ~dark[0], frames[0], frames[1]


def _shown(reference_known: torch.Tensor, u_px: torch.Tensor) -> torch.Tensor:
    """Pixels `(N, H, W)` that the reference shows: their source x − u is in it, and known there."""
    height, width = reference_known.shape[-2:]
    x, y = (torch.nan_to_num(position).round().long() for position in source_px(u_px))
    nearest = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    known = reference_known.flatten(1).gather(1, nearest.flatten(1)).reshape(nearest.shape)
    return known & ~from_outside(u_px, BEYOND_PX)


def _dark(image: torch.Tensor, finite: torch.Tensor) -> torch.Tensor:
    """Where `(N, H, W)` shows no beam: noise around zero, whose ratios would be anything."""
    light = local_mean(image, LIGHT_SIGMA_PX, finite.float())
    level = image.sum(dim=(-2, -1), keepdim=True) / finite.sum(dim=(-2, -1), keepdim=True).clamp(
        min=1
    )
    dark = ~(light > LEAST_LIGHT * level.clamp(min=torch.finfo(light.dtype).tiny))
    if not dark.any():
        return dark
    # The blur carries light beyond the edge of the beam, to twice its sigma at this level.
    reach = 2 * round(LIGHT_SIGMA_PX)
    rows = functional.max_pool2d(dark.float(), (2 * reach + 1, 1), 1, (reach, 0))
    return functional.max_pool2d(rows, (1, 2 * reach + 1), 1, (0, reach)) > 0


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """Any real NumPy array as a float32 tensor that shares no memory with it."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise UsageError(f"frames must be real numbers, not {array.dtype}")
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _check_shapes(reference: torch.Tensor, sample: torch.Tensor) -> None:
    if reference.is_complex() or sample.is_complex():
        raise UsageError("frames must be real numbers, not complex ones")
    if sample.ndim not in (2, 3) or reference.ndim not in (2, 3):
        raise UsageError(
            f"frames must be (H, W) or (N, H, W), not {tuple(reference.shape)} and "
            f"{tuple(sample.shape)}"
        )
    if sample.ndim == 3 and not len(sample):
        raise UsageError("there is no sample frame")
    if reference.shape[-2:] != sample.shape[-2:] or (
        reference.ndim == 3 and reference.shape != sample.shape and len(reference) != 1
    ):
        raise UsageError(
            f"reference {tuple(reference.shape)} and sample {tuple(sample.shape)} do not match"
        )
    if min(sample.shape[-2:]) < LEAST_SIDE_PX:
        raise UsageError(
            f"frames must be at least {LEAST_SIDE_PX} px wide and high, "
            f"not {tuple(sample.shape[-2:])}"
        )


def _stacked(results: list[Displacement[Any]], sample: torch.Tensor) -> Displacement[Any]:
    """Results `(n, H, W)` one after another as one that is shaped as the sample."""
    if sample.ndim == 2:
        return _mapped(results[0], lambda t: t[0])
    values = {}
    for f in dataclasses.fields(Displacement):
        parts = [getattr(result, f.name) for result in results]
        values[f.name] = None if parts[0] is None else torch.cat(parts)
    return Displacement(**values)


def _mapped(result: Displacement[Any], function: Any) -> Displacement[Any]:
    values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    return Displacement(**{k: v if v is None else function(v) for k, v in values.items()})
