"""The one interface of all trackers: frames in, displacement out."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cade.displacement import Array, Displacement
from cade.errors import UsageError
from models.contrast import measure_contrast
from models.validity import reliable


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a result must carry to be reproduced."""

    tracker: str
    parameters: dict[str, str | int | float]
    weights: str = ""
    weights_sha256: str = ""
    has_sigma: bool = False


class Tracker(ABC):
    """Finds the displacement u with I_s(x) = T(x)·I_r(x − u(x)) for every pixel."""

    device: torch.device
    provenance: Provenance

    @abstractmethod
    def _estimate(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        """Displacement of float32 frames `(N, H, W)` without NaN; `weight` is 0 where invalid."""

    def track(self, reference: Array, sample: Array) -> Displacement[Array]:
        """Track sample frames against references.

        Args:
            reference: `(H, W)`, or `(N, H, W)` with one for each sample frame; any real dtype.
                One reference serves all sample frames.
            sample: `(H, W)` or `(N, H, W)`. NaN pixels, in either, are invalid.

        Returns:
            All fields shaped as `sample`, of its kind (NumPy or torch, on its device), float32.

        Raises:
            UsageError: frames of different shapes.
        """
        if isinstance(sample, torch.Tensor):
            return self._track(torch.as_tensor(reference), sample, sample.device)
        result = self._track(_tensor(reference), _tensor(sample), torch.device("cpu"))
        return _mapped(result, lambda t: t.numpy())

    def _track(
        self, reference: torch.Tensor, sample: torch.Tensor, device: torch.device
    ) -> Displacement[torch.Tensor]:
        _check_shapes(reference, sample)
        batch = sample[None] if sample.ndim == 2 else sample
        batch = batch.to(self.device, torch.float32)
        references = reference.to(self.device, torch.float32)
        if references.ndim == 2:
            references = references[None]
        references = references.expand_as(batch)
        with torch.inference_mode():
            result = self._complete(references, batch)
        if sample.ndim == 2:
            result = _mapped(result, lambda t: t[0])
        return _mapped(result, lambda t: t.to(device))

    def _complete(
        self, reference: torch.Tensor, sample: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        """Estimate, then what every tracker shares: contrast, validity, NaN where invalid."""
        known = torch.isfinite(reference) & torch.isfinite(sample)
        weight = known.float()
        reference, sample = (torch.where(known, image, 0.0) for image in (reference, sample))
        found = self._estimate(reference, sample, weight)
        contrast = measure_contrast(reference, sample, found.ux_px, found.uy_px, weight)
        valid = found.valid & known & reliable(contrast)
        fields = {
            "ux_px": found.ux_px,
            "uy_px": found.uy_px,
            "sigma_x_px": found.sigma_x_px,
            "sigma_y_px": found.sigma_y_px,
            "transmission": contrast.transmission
            if found.transmission is None
            else found.transmission,
            "dark_field": contrast.dark_field if found.dark_field is None else found.dark_field,
        }
        nan = torch.full_like(found.ux_px, torch.nan)
        masked = {k: v if v is None else torch.where(valid, v, nan) for k, v in fields.items()}
        return Displacement(valid=valid, **masked)  # type: ignore[arg-type]


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """Any real NumPy array as a tensor; unsigned and foreign-endian ones become float32."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise UsageError(f"frames must be real numbers, not {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _check_shapes(reference: torch.Tensor, sample: torch.Tensor) -> None:
    if sample.ndim not in (2, 3) or reference.ndim not in (2, 3):
        raise UsageError(
            f"frames must be (H, W) or (N, H, W), not {tuple(reference.shape)} and "
            f"{tuple(sample.shape)}"
        )
    if reference.shape[-2:] != sample.shape[-2:] or (
        reference.ndim == 3 and reference.shape != sample.shape and len(reference) != 1
    ):
        raise UsageError(
            f"reference {tuple(reference.shape)} and sample {tuple(sample.shape)} do not match"
        )


def _mapped(result: Displacement[Any], function: Any) -> Displacement[Any]:
    values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    return Displacement(**{k: v if v is None else function(v) for k, v in values.items()})
