"""What a sample does to the beam: truth on the detector, and frames in two independent ways.

A frame is made either by wave propagation of the diffuser's field through the sample, or from the
reference by I_s(x) = T·det(1 − ∇u)·I_r(x − u(x)), which is some ten times faster. The second way
is only for samples without edges; it is told where they scatter by `simulator.dark_field`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.displacement import focusing
from cade.errors import UsageError
from simulator.composite import (
    Sample,
    microstructure_of,
    optical_depth,
    phantoms_of,
    phase_depth,
    phase_depth_slopes,
)
from simulator.dark_field import expected_dark_field
from simulator.detector import HALF_PIXELS, detector_intensity
from simulator.optics import Optics
from simulator.pairs import displaced_intensity
from simulator.pattern import at_pixels
from simulator.sampling import check_phase
from simulator.wave_field import transmit

ITERATIONS = 5
"""Of u ← û(x − u): each multiplies the error by |∇u|, at most 0.15 without edges."""
STUBBORN_ITERATIONS = 60
"""More of them where u has not settled; 0.9⁶⁰ is 0.002."""
UNSETTLED_PX = 0.01
"""Where the last iteration moved u further, rays cross: u is not one number there."""
RIM = 0.02
"""Share of a sample's area whose phase may turn faster than the sampling holds: a sharp rim."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a tracker and an integrator should find, each `(H, W)` float32.

    `phase_rad` is Φ = −k·Σδ·t at the pixels' places in the sample plane. `ux_px`, `uy_px` is u on
    the detector, where I_s(x) = T·I_r(x − u(x)): it belongs to the ray that left the sample at
    (x − u)/M. So ∇Φ = (2π/λ)·α and α = u·p/d taken at the same pixel differ by u·∇u, one per cent
    of the phase for |u| below a pixel. `transmission` is T as it is measured, exp(−Σμ·t) of that
    ray times the focusing det(1 − ∇u). `dark_field` is 1 where nothing scatters. At an edge, where
    rays cross, all but the phase is NaN.
    """

    phase_rad: torch.Tensor
    ux_px: torch.Tensor
    uy_px: torch.Tensor
    transmission: torch.Tensor
    dark_field: torch.Tensor


def pixel_grid(optics: Optics, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """X `(1, W)` and y `(H, 1)` in m, in the sample plane, of the centres of the pixels."""
    return _grid(optics.geometry.sample_pixel_m, shape)


def field_grid(optics: Optics, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """X `(1, W')` and y `(H', 1)` in m of the samples of the wave field of a frame `(H, W)`."""
    fine = (shape[0] * optics.oversampling, shape[1] * optics.oversampling)
    return _grid(optics.pitch_m, fine)


def pattern_grid(optics: Optics, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """X `(1, 2W)` and y `(2H, 1)` in m of the samples of a pattern of a frame `(H, W)`."""
    pitch_m = optics.geometry.sample_pixel_m / HALF_PIXELS
    return _grid(pitch_m, (HALF_PIXELS * shape[0], HALF_PIXELS * shape[1]))


def _grid(pitch_m: float, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    y, x = (pitch_m * torch.arange(n, dtype=torch.float64) for n in shape)
    return x[None, :], y[:, None]


def phase_rad(sample: Sample, optics: Optics, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
    """Phase Φ = −k·Σδ·t in rad at positions in the sample plane."""
    return -optics.geometry.wavenumber_per_m * phase_depth(sample, x_m, y_m)


def refraction_rad(sample: Sample, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
    """Refraction angles α = (λ/2π)·∇Φ = −Σδ·∇t in rad at places in the sample plane, `(2, …)`."""
    return -torch.stack(phase_depth_slopes(sample, x_m, y_m))


def check_sample(sample: Sample, optics: Optics, shape: tuple[int, int]) -> None:
    """Refuse a sample whose phase turns too fast for the samples of the wave field.

    Raises:
        UsageError: by π and more in more places than a sharp rim has; says which sampling does.
    """
    x_m, y_m = (axis.float() for axis in field_grid(optics, shape))
    phase = phase_rad(sample, optics, x_m, y_m)
    covered = float((phase != 0).double().mean())
    check_phase(phase, optics, "sample", beyond=RIM * covered)


def displacement_px(sample: Sample, optics: Optics, shape: tuple[int, int]) -> torch.Tensor:
    """Solution u of u(x) = α((x − u)/M)·d/p on the detector's pixels, `(2, H, W)` float64.

    NaN at edges, where rays cross and u is not one number.
    """
    x_m, y_m = pixel_grid(optics, shape)
    start = torch.zeros((2, *shape), dtype=torch.float64)
    u, unsettled = _iterated(sample, optics, x_m, y_m, start, ITERATIONS)
    if bool(unsettled.any()):
        x_m, y_m = (axis.expand(shape)[unsettled][None] for axis in (x_m, y_m))
        rest = u[:, unsettled][:, None]
        rest, failed = _iterated(sample, optics, x_m, y_m, rest, STUBBORN_ITERATIONS)
        u[:, unsettled] = rest.where(~failed, torch.nan)[:, 0]
    return u


def _iterated(
    sample: Sample,
    optics: Optics,
    x_m: torch.Tensor,
    y_m: torch.Tensor,
    u: torch.Tensor,
    times: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """U after so many iterations, and where the last one still moved it."""
    geometry = optics.geometry
    per_rad = geometry.distance_m / geometry.pixel_size_m
    before = u
    for _ in range(times):
        back_m = u * geometry.sample_pixel_m
        before, u = u, per_rad * refraction_rad(sample, x_m - back_m[0], y_m - back_m[1])
    return u, torch.hypot(*(u - before)) > UNSETTLED_PX


def _ray_places(u: torch.Tensor, optics: Optics) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the rays of the pixels `(H, W)` left the sample, in m."""
    x_m, y_m = pixel_grid(optics, (u.shape[-2], u.shape[-1]))
    back_m = u * optics.geometry.sample_pixel_m
    return x_m - back_m[0], y_m - back_m[1]


def truth(
    sample: Sample, optics: Optics, shape: tuple[int, int], pattern: torch.Tensor | None = None
) -> Truth:
    """Truth at every pixel of a frame `(H, W)`.

    Args:
        sample: in the beam.
        optics: of the whole.
        shape: of the frame.
        pattern: the reference `(2H, 2W)`, which only a sample that scatters needs: how much of the
            contrast is left depends on how fine the speckle is.

    Raises:
        UsageError: the sample scatters, and there is no pattern.
    """
    phase = phase_rad(sample, optics, *pixel_grid(optics, shape))
    u = displacement_px(sample, optics, shape)
    x_m, y_m = _ray_places(u, optics)
    transmission = torch.exp(-optical_depth(sample, x_m, y_m)) * focusing(u[0], u[1])
    dark_field = torch.ones_like(u[0]).where(u[0].isfinite(), torch.nan)
    structure = microstructure_of(sample)
    if structure is not None:
        if pattern is None:
            raise UsageError("the truth of a sample that scatters depends on the reference pattern")
        strength = structure.strength(optics, x_m.nan_to_num(), y_m.nan_to_num())
        dark_field *= expected_dark_field(pattern, strength, structure, optics)
    fields = (phase, u[0], u[1], transmission, dark_field)
    return Truth(*(field.float() for field in fields))


def propagated_frame(field: torch.Tensor, sample: Sample, optics: Optics) -> torch.Tensor:
    """Intensity at the pixels `(H, W)` by wave propagation from behind the sample.

    Args:
        field: what comes out of the diffuser, `(H·oversampling, W·oversampling)` complex64.
        sample: next to the diffuser.
        optics: of the whole.
    """
    shape = (field.shape[-2] // optics.oversampling, field.shape[-1] // optics.oversampling)
    wavenumber_per_m = optics.geometry.wavenumber_per_m
    x_m, y_m = (axis.float() for axis in field_grid(optics, shape))
    for phantom in phantoms_of(sample):
        thickness_m = phantom.thickness_m(x_m, y_m)
        field = transmit(field, thickness_m, phantom.material, wavenumber_per_m)
    structure = microstructure_of(sample)
    if structure is not None:
        thickness_m = structure.random_thickness_m(x_m, y_m, optics.pitch_m)
        field = transmit(field, thickness_m, structure.material, wavenumber_per_m)
    return at_pixels(detector_intensity(field, optics))


def displaced_frame(
    coefficients: torch.Tensor, origin: int, sample: Sample, optics: Optics
) -> torch.Tensor:
    """Intensity at the pixels `(H, W)` from that of the reference.

    Args:
        coefficients: spline coefficients of the reference at two samples a pixel, after scatter if
            there is any, continued by `origin` samples on every side,
            `(2H + 2·origin, 2W + 2·origin)`.
        origin: enough for the largest displacement.
        sample: without edges.
        optics: of the whole.

    Raises:
        UsageError: the sample has edges, where rays cross, or displaces by more than `origin`.
    """
    rows, columns = ((n - 2 * origin) // HALF_PIXELS for n in coefficients.shape)
    u = displacement_px(sample, optics, (rows, columns))
    check_displacement(u, origin)
    factor = torch.exp(-optical_depth(sample, *_ray_places(u, optics))) * focusing(u[0], u[1])
    moved = displaced_intensity(coefficients[None], u[None].float(), origin)
    return factor.float() * moved[0]


def check_displacement(u: torch.Tensor, origin: int) -> None:
    """Refuse what a displaced reference cannot show.

    Raises:
        UsageError: rays cross, or |u| reaches beyond `origin` samples of the reference's border.
    """
    if not bool(u.isfinite().all()):
        raise UsageError(
            "sample: rays cross at its edges, which no displaced reference shows; propagate it, "
            "or make it smoother or thinner"
        )
    largest_px = float(u.abs().max())
    if HALF_PIXELS * largest_px > origin:
        raise UsageError(
            f"sample: it displaces by {largest_px:.3g} px, more than the reference is continued "
            f"({origin / HALF_PIXELS:g} px); use a weaker one"
        )
