"""How the power of an interpolated image differs from the interpolated power of the image.

Interpolation weakens the highest frequencies, most at half a pixel. The products of a sample with
an interpolated reference lack that, so the reference's own power must lack it as well, or shifts
are drawn to whole pixels (0.01 px with 4-px speckle). Between whole and half a pixel the power
swings, which at the edge of a window does not cancel. Noise of the reference loses power, too, but
is in no product with the sample; counted as a loss, it would draw shifts to half pixels (0.05 px
at 6 % noise).
"""

from __future__ import annotations

import math

import torch

NOISE_KEPT = 0.756071
"""Share of the power of white noise that a cubic spline keeps half-way between pixels."""
_CUBIC = 0.15
"""Shape between whole and half: h²·(1 − 0.15·(1 − h)), h = 4|t|(1 − |t|), for any speckle."""


def power_loss(splines: torch.Tensor) -> torch.Tensor:
    """What to take off the interpolated power, `(N, P, 10, h, w)`, for `loss_at`.

    Args:
        splines: from `models.lag_sums.reference_splines`.
    """
    rest, power = splines[:, :, 1], splines[:, :, 4]
    losses = []
    for along_x, along_y in ((_half, _whole), (_whole, _half), (_half, _half)):
        between = along_y(along_x(rest, -1), -2)
        lost = [along_y(along_x(power, -1), -2) - between.square()]
        for along, dim in ((along_x, -1), (along_y, -2)):
            if along is _half:  # before each pixel, and after it: moved by less and by more
                lost = [image.roll(step, dim) for image in lost for step in (0, 1)]
        losses += lost
    value = _whole(_whole(rest, -1), -2)
    for dim, other in ((-1, -2), (-2, -1)):
        slopes = (_whole(_slope(image, dim), other) for image in (rest, power))
        losses.append(2 * value * next(slopes) - next(slopes))
    return torch.stack(losses, dim=2)


def noise_loss(like: torch.Tensor) -> torch.Tensor:
    """The same `(10, 1)` of white noise of variance one."""
    single, both = 1 - NOISE_KEPT, 1 - NOISE_KEPT**2
    return like.new_tensor([*[single] * 4, *[both] * 4, 0.0, 0.0])[:, None]


def loss_at(loss: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Loss `(pixels)` at offsets from a whole shift, and its derivatives x, y, xx, yy, xy.

    Args:
        loss: at half a pixel along x (less, more), y (less, more) and both (x first), and the
            slopes at none, `(10, pixels)`.
        x: offset in px, within ±1.
        y: likewise.
    """
    value_x, slope_x, bend_x = _shape(x)
    value_y, slope_y, bend_y = _shape(y)
    swing_x, swing_y = _swing(x), _swing(y)
    half_x = torch.where(x > 0, loss[1], loss[0])
    half_y = torch.where(y > 0, loss[3], loss[2])
    both = torch.where(
        x > 0, torch.where(y > 0, loss[7], loss[6]), torch.where(y > 0, loss[5], loss[4])
    )
    both = both - half_x - half_y
    along_x, along_y = half_x + both * value_y, half_y + both * value_x
    return (
        half_x * value_x + along_y * value_y + loss[8] * swing_x[0] + loss[9] * swing_y[0],
        along_x * slope_x + loss[8] * swing_x[1],
        along_y * slope_y + loss[9] * swing_y[1],
        along_x * bend_x + loss[8] * swing_x[2],
        along_y * bend_y + loss[9] * swing_y[2],
        both * slope_x * slope_y,
    )


def _shape(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    size = t.abs()
    h, slope = 4 * size * (1 - size), 4 * (t.sign() - 2 * t)
    rate = 2 * (1 - _CUBIC) * h + 3 * _CUBIC * h.square()
    value = h.square() * (1 - _CUBIC * (1 - h))
    bend = (2 * (1 - _CUBIC) + 6 * _CUBIC * h) * slope.square() - 8 * rate
    return value, rate * slope, bend


def _swing(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Slope one at whole pixels, none at half ones, where interpolated powers agree in slope."""
    angle = math.tau * t
    value = (angle.sin() / 2 + (2 * angle).sin() / 4) / math.tau
    slope = (angle.cos() + (2 * angle).cos()) / 2
    return value, slope, -math.tau * (angle.sin() / 2 + (2 * angle).sin())


def _half(coefficients: torch.Tensor, dim: int) -> torch.Tensor:
    near = coefficients + coefficients.roll(-1, dim)
    return (23 * near + coefficients.roll(1, dim) + coefficients.roll(-2, dim)) / 48


def _whole(coefficients: torch.Tensor, dim: int) -> torch.Tensor:
    return (4 * coefficients + coefficients.roll(1, dim) + coefficients.roll(-1, dim)) / 6


def _slope(coefficients: torch.Tensor, dim: int) -> torch.Tensor:
    return (coefficients.roll(-1, dim) - coefficients.roll(1, dim)) / 2
