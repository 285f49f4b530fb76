"""What a phantom does to the beam: truth on the detector, and frames in two independent ways.

A frame is made either by wave propagation of the diffuser's field through the phantom, or from the
reference by I_s(x) = T·det(1 − ∇u)·I_r(x − u(x)), which is some ten times faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from simulator.deformation import focusing
from simulator.detector import HALF_PIXELS, detector_intensity
from simulator.optics import Optics
from simulator.pairs import displaced_intensity
from simulator.pattern import at_pixels
from simulator.phantom import Phantom
from simulator.wave_field import transmit

ITERATIONS = 5
"""Of u ← û(x − u): each multiplies the error by |∇u|, at most 0.15."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a tracker and an integrator should find, each `(H, W)`.

    `phase_rad` is Φ = −k·δ·t at the pixels' places in the sample plane. `ux_px`, `uy_px` is u on
    the detector, where I_s(x) = T·I_r(x − u(x)): it belongs to the ray that left the sample at
    (x − u)/M. So ∇Φ = (2π/λ)·α and α = u·p/d taken at the same pixel differ by u·∇u, one per cent
    of the phase for |u| below a pixel.
    """

    phase_rad: torch.Tensor
    ux_px: torch.Tensor
    uy_px: torch.Tensor


def pixel_grid(optics: Optics, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """X `(1, W)` and y `(H, 1)` in m, in the sample plane, of the centres of the pixels."""
    return _grid(optics.geometry.sample_pixel_m, shape)


def field_grid(optics: Optics, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """X `(1, W')` and y `(H', 1)` in m of the samples of the wave field of a frame `(H, W)`."""
    fine = (shape[0] * optics.oversampling, shape[1] * optics.oversampling)
    return _grid(optics.pitch_m, fine)


def _grid(pitch_m: float, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    y, x = (pitch_m * torch.arange(n, dtype=torch.float64) for n in shape)
    return x[None, :], y[:, None]


def phase_rad(
    phantom: Phantom, optics: Optics, x_m: torch.Tensor, y_m: torch.Tensor
) -> torch.Tensor:
    """Phase Φ = −k·δ·t in rad at positions in the sample plane."""
    thickness_m = phantom.thickness_m(x_m, y_m)
    return -optics.geometry.wavenumber_per_m * phantom.material.delta * thickness_m


def refraction_rad(phantom: Phantom, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
    """Refraction angles α = (λ/2π)·∇Φ = −δ·∇t in rad at positions in the sample plane, `(2, …)`."""
    return -phantom.material.delta * torch.stack(phantom.slopes(x_m, y_m))


def displacement_px(phantom: Phantom, optics: Optics, shape: tuple[int, int]) -> torch.Tensor:
    """Solution u of u(x) = α((x − u)/M)·d/p on the detector's pixels, `(2, H, W)` float64."""
    geometry = optics.geometry
    x_m, y_m = pixel_grid(optics, shape)
    per_rad = geometry.distance_m / geometry.pixel_size_m
    u = torch.zeros((2, *shape), dtype=torch.float64)
    for _ in range(ITERATIONS):
        back_m = u * geometry.sample_pixel_m
        u = per_rad * refraction_rad(phantom, x_m - back_m[0], y_m - back_m[1])
    return u


def truth(phantom: Phantom, optics: Optics, shape: tuple[int, int]) -> Truth:
    """Phase and displacement at every pixel of a frame `(H, W)`, float32."""
    phase = phase_rad(phantom, optics, *pixel_grid(optics, shape)).float()
    ux_px, uy_px = displacement_px(phantom, optics, shape).float()
    return Truth(phase, ux_px, uy_px)


def propagated_frame(field: torch.Tensor, phantom: Phantom, optics: Optics) -> torch.Tensor:
    """Intensity at the pixels `(H, W)` by wave propagation from behind the phantom.

    Args:
        field: what comes out of the diffuser, `(H·oversampling, W·oversampling)` complex64.
        phantom: the sample, next to the diffuser.
        optics: of the whole.
    """
    shape = (field.shape[-2] // optics.oversampling, field.shape[-1] // optics.oversampling)
    x_m, y_m = field_grid(optics, shape)
    thickness_m = phantom.thickness_m(x_m.float(), y_m.float())
    behind = transmit(field, thickness_m, phantom.material, optics.geometry.wavenumber_per_m)
    return at_pixels(detector_intensity(behind, optics))


def displaced_frame(
    coefficients: torch.Tensor, origin: int, phantom: Phantom, optics: Optics
) -> torch.Tensor:
    """Intensity at the pixels `(H, W)` from that of the reference.

    Args:
        coefficients: spline coefficients of the reference at two samples a pixel, continued by
            `origin` samples on every side, `(2H + 2·origin, 2W + 2·origin)`.
        origin: enough for the largest displacement.
        phantom: the sample.
        optics: of the whole.
    """
    rows, columns = ((n - 2 * origin) // HALF_PIXELS for n in coefficients.shape)
    u = displacement_px(phantom, optics, (rows, columns))
    x_m, y_m = pixel_grid(optics, (rows, columns))
    back_m = u * optics.geometry.sample_pixel_m
    thickness_m = phantom.thickness_m(x_m - back_m[0], y_m - back_m[1])
    factor = torch.exp(-phantom.material.mu_per_m * thickness_m) * focusing(u)
    moved = displaced_intensity(coefficients[None], u[None].float(), origin)
    return factor.float() * moved[0]
