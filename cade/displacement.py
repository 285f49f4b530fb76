"""The fields that a tracker finds and that physics makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:  # so that settings and wire formats do without it
    import torch

Array = TypeVar("Array", NDArray[Any], "torch.Tensor")


@dataclass(frozen=True, slots=True, eq=False)
class Displacement(Generic[Array]):
    """Displacement u in detector pixels on the sample frame's grid: I_s(x) = T(x)·I_r(x − u(x)).

    Arrays are `(H, W)` or `(N, H, W)`, all NumPy or all torch. Positive `ux_px` = the speckle moved
    right, positive `uy_px` = it moved down. Where `valid` is False every other field is NaN.
    `sigma_*_px` is the tracker's own standard deviation of its estimate, None where it has none.
    """

    ux_px: Array
    uy_px: Array
    valid: Array
    sigma_x_px: Array | None = None
    sigma_y_px: Array | None = None
    transmission: Array | None = None
    dark_field: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Refraction(Generic[Array]):
    """Refraction angles in rad, shaped as the displacement they come from."""

    x_rad: Array
    y_rad: Array


def focusing(ux_px: torch.Tensor, uy_px: torch.Tensor) -> torch.Tensor:
    """det(1 − ∇u) of displacements `(..., H, W)`: the light that refraction gathers or spreads."""
    import torch

    ux_y, ux_x = torch.gradient(ux_px, dim=(-2, -1))
    uy_y, uy_x = torch.gradient(uy_px, dim=(-2, -1))
    return (1 - ux_x) * (1 - uy_y) - ux_y * uy_x
