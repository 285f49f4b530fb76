"""Refraction angle to phase: batched least-squares integration in torch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cade.conjugate_gradient import conjugate_gradient
from cade.displacement import Array, Refraction
from cade.errors import UsageError
from cade.geometry import Geometry
from cade.plane import fitted_plane, frame_mean, plane
from cade.poisson import PoissonSolver
from cade.sample_plane import to_sample_plane
from cade.staggered import Edges, differences, edge_weights, integrals

TOLERANCE_RAD = 1e-5
"""Iterations end when the estimated error is below this (1e-3 in float32)."""

MAX_ITERATIONS = 300
"""Holes need about 10, a fifth of the pixels missing 25, weights over two decades 40."""

LEAST_WEIGHT = 1e-4
"""Smaller weights, relative to the frame's mean, count as this: they hardly matter as it is."""


def integrate_phase(
    refraction: Refraction[Array],
    geometry: Geometry,
    *,
    weights: Array | None = None,
    remove_tilt: bool = False,
) -> Array:
    """Phase Φ in rad with ∇Φ = (2π/λ) α, by `PhaseIntegrator`, which explains the method.

    Args:
        refraction: angles in rad, `(H, W)` or `(N, H, W)`, NumPy or torch on any device.
        geometry: wavelength and the pitch p/M in the sample plane.
        weights: `(H, W)` or shaped as the angles, relative, for example 1/σ²; 0 or NaN = invalid.
        remove_tilt: subtract the least-squares plane over the valid pixels of every frame.

    Returns:
        Phase in rad, float32, of the angles' kind and shape, on their device; NaN where invalid.

    Raises:
        UsageError: shapes that do not fit together, or negative or infinite weights.
    """
    angle = refraction.x_rad
    device = angle.device if isinstance(angle, torch.Tensor) else torch.device("cpu")
    if angle.ndim not in (2, 3):
        raise UsageError(f"phase: angles must be (H, W) or (N, H, W), not {tuple(angle.shape)}")
    integrator = PhaseIntegrator((angle.shape[-2], angle.shape[-1]), device)
    return integrator(refraction, geometry, weights=weights, remove_tilt=remove_tilt)


class PhaseIntegrator:
    """Least-squares integration of frames of one shape on one device; build it once per series.

    The phase minimises Σ w (Φ_b − Φ_a − g_ab)² over all pairs a, b of neighbouring valid pixels,
    where g_ab integrates the measured slope from a to b (`cade.staggered.integrals`) and w is the
    harmonic mean of the two weights. Nothing is assumed beyond the border or in holes.

    Angles are given where they were measured, on the detector. Where a ray moves by more than 2 px
    they are first taken to where it left the sample (`cade.sample_plane`), and so is the phase;
    pixels of the sample whose rays miss the detector are invalid then.

    Frames whose pixels are all valid and of equal weight are solved directly by cosine transforms.
    The others go through conjugate gradients preconditioned with that direct solver (Ghiglia and
    Romero, JOSA A 11, 107, 1994) until the estimated error is below `TOLERANCE_RAD` rms; a
    RuntimeWarning tells if `MAX_ITERATIONS` did not suffice.

    Pixels with a non-finite angle, or weight 0 or NaN, are invalid and NaN in the phase. The mean
    over a frame's valid pixels is zero; a frame without any is all NaN. Valid regions that no
    pair of neighbours connects (an isolated pixel is one) are each right up to a piston of their
    own, which no gradient can tell; it stays finite and means nothing.

    Args:
        shape: `(H, W)` of the frames.
        device: where to compute; tensors are returned there, NumPy arrays on the host.
        dtype: working precision; float64 by default, except where the device has none (MPS).
            float32 halves the time and costs 1e-4 rad rms on 2048² frames of 500 rad.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        if min(shape) < 1:
            raise UsageError(f"phase: frames must not be empty, but their shape is {shape}")
        self.shape = shape
        self.device = torch.device(device)
        self.dtype = dtype or (torch.float32 if self.device.type == "mps" else torch.float64)
        self._solve_uniform = PoissonSolver.of(shape, self.device, self.dtype)
        # A preconditioner need not be exact, and float32 takes half the time.
        self._precondition = PoissonSolver.of(shape, self.device, torch.float32)

    @torch.no_grad()
    def __call__(
        self,
        refraction: Refraction[Array],
        geometry: Geometry,
        *,
        weights: Array | None = None,
        remove_tilt: bool = False,
    ) -> Array:
        """As `integrate_phase`, for frames of this integrator's shape."""
        like = refraction.x_rad
        x = self._tensor(refraction.x_rad, "x_rad")
        y = self._tensor(refraction.y_rad, "y_rad")
        w = None if weights is None else self._tensor(weights, "weights")
        if x.shape != y.shape or (w is not None and w.shape[0] not in (1, x.shape[0])):
            counts = [0 if frames is None else frames.shape[0] for frames in (x, y, w)]
            raise UsageError(f"phase: numbers of frames differ: x, y, weights have {counts}")
        if w is not None and bool(((w < 0) | w.isinf()).any()):
            raise UsageError("phase: weights must be finite and not negative (0 or NaN = invalid)")
        x, y, w = _at_sample(x, y, w, geometry)
        scale = geometry.wavenumber_per_m * geometry.sample_pixel_m
        x, y = x * scale, y * scale
        valid, w = _pixel_weights(x, y, w)
        phase = self._integrate(x, y, valid, w)
        phase = _level(phase, valid, remove_tilt).to(torch.float32).reshape(like.shape)
        return phase.cpu().numpy() if isinstance(like, np.ndarray) else phase

    def _tensor(self, values: NDArray[Any] | torch.Tensor, name: str) -> torch.Tensor:
        """A `(N, H, W)` tensor of the values in the working precision on the device."""
        if values.ndim not in (2, 3) or tuple(values.shape[-2:]) != self.shape:
            height, width = self.shape
            raise UsageError(
                f"phase: {name} must be ({height}, {width}) or (N, {height}, {width}), "
                f"not {tuple(values.shape)}"
            )
        if isinstance(values, np.ndarray):
            # An own copy: torch warns about read-only arrays and refuses foreign byte orders.
            values = torch.from_numpy(np.array(values, dtype=np.float64))
        return values.to(self.device, self.dtype).reshape(-1, *self.shape)

    def _integrate(
        self, x: torch.Tensor, y: torch.Tensor, valid: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        if not len(x):
            return x  # some FFT libraries refuse an empty batch
        low, high = weights.amin(dim=(-2, -1)), weights.amax(dim=(-2, -1))
        uniform = (low == high) & (low > 0)
        if bool(uniform.all()):
            return self._direct(x, y)
        phase = torch.empty_like(x)
        if bool(uniform.any()):
            phase[uniform] = self._direct(x[uniform], y[uniform])
        rest = ~uniform
        phase[rest] = self._iterate(x[rest], y[rest], valid[rest], weights[rest])
        return phase

    def _direct(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        edges, slope = _detrend(integrals(x, y, None), None)
        return self._solve_uniform(edges.adjoint()).add_(slope)

    def _iterate(
        self, x: torch.Tensor, y: torch.Tensor, valid: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        x, y = x.masked_fill(~valid, 0), y.masked_fill(~valid, 0)
        pair_weights = edge_weights(weights)
        edges, slope = _detrend(integrals(x, y, valid), pair_weights)
        tolerance_rad = max(TOLERANCE_RAD, 1e4 * torch.finfo(self.dtype).eps)
        mask = valid.to(x.dtype)
        # The preconditioner sees a residual of w times the error: 1/w makes an error of it again.
        amplification = frame_mean(weights.reciprocal().masked_fill_(~valid, 0), mask)
        phase, error_rad, iterations = conjugate_gradient(
            edges.scale_(pair_weights).adjoint(),
            apply=lambda phi: differences(phi).scale_(pair_weights).adjoint(),
            precondition=lambda r: self._precondition(r.to(torch.float32)).to(self.dtype),
            size=lambda z: frame_mean(z.square(), mask).sqrt_().mul_(amplification).flatten(),
            tolerance=tolerance_rad,
            max_iterations=MAX_ITERATIONS,
        )
        if bool((error_rad > tolerance_rad).any()):
            warnings.warn(
                f"phase: integration around invalid pixels stopped after {iterations} iterations "
                f"with an estimated error of {float(error_rad.max()):.2g} rad",
                RuntimeWarning,
                stacklevel=5,
            )
        return phase.add_(slope)


def _at_sample(
    x_rad: torch.Tensor, y_rad: torch.Tensor, weights: torch.Tensor | None, geometry: Geometry
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Angles and weights `(N, H, W)` where the rays left the sample (`cade.sample_plane`)."""
    moved_px = torch.stack([x_rad, y_rad], dim=1) * geometry.pixels_per_rad
    if weights is None:
        x_rad, y_rad = to_sample_plane(torch.stack([x_rad, y_rad], dim=1), moved_px).unbind(1)
        return x_rad, y_rad, None
    fields = torch.stack([x_rad, y_rad, weights.expand_as(x_rad)], dim=1)
    x_rad, y_rad, weights = to_sample_plane(fields, moved_px).unbind(1)
    return x_rad, y_rad, weights


def _pixel_weights(
    x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The valid pixels and the weights, with mean 1 over them and 0 elsewhere, all `(N, H, W)`."""
    valid = x.isfinite() & y.isfinite()
    if weights is None:
        return valid, valid.to(x.dtype)
    valid = valid & (weights > 0)
    mask = valid.to(x.dtype)
    weights = weights.expand_as(x).masked_fill(~valid, 0)
    mean = frame_mean(weights, mask)
    weights = weights / mean.masked_fill_(mean == 0, 1)
    return valid, weights.clamp_(min=LEAST_WEIGHT) * mask


def _detrend(edges: Edges, weights: Edges | None) -> tuple[Edges, torch.Tensor]:
    """Take the mean slope out of the edges, and give the plane `(N, H, W)` that has it.

    The plane fits exactly, so the least-squares solution is the same; but a ramp then needs no
    iterations, and the solver is not left with large terms that cancel at the borders.
    """
    slope_x = frame_mean(edges.x, None if weights is None else weights.x)
    slope_y = frame_mean(edges.y, None if weights is None else weights.y)
    height, width = edges.x.shape[-2], edges.y.shape[-1]
    flat = Edges(edges.x - slope_x, edges.y - slope_y)
    return flat, plane(slope_x, slope_y, height, width)


def _level(phase: torch.Tensor, valid: torch.Tensor, remove_tilt: bool) -> torch.Tensor:
    """Piston (and the fitted plane) of the valid pixels removed; NaN elsewhere. `(N, H, W)`."""
    mask = valid.to(phase.dtype)
    phase = phase - frame_mean(phase, mask)
    if remove_tilt:
        phase = phase - fitted_plane(phase, mask)
    return phase.masked_fill_(~valid, torch.nan)
