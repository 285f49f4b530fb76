"""Products of gradients and differences: what the brightness equation says of a displacement."""

from __future__ import annotations

import torch
from torch.nn import functional

PRODUCTS = 8


def _gradients(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fourth-order central differences along x and y of `(N, 1, H, W)`."""
    taps = torch.tensor([1.0, -8.0, 0.0, 8.0, -1.0], device=images.device, dtype=images.dtype) / 12
    padded = functional.pad(images, (2, 2, 2, 2), mode="replicate")
    along_x = functional.conv2d(padded[:, :, 2:-2], taps.reshape(1, 1, 1, 5))
    along_y = functional.conv2d(padded[:, :, :, 2:-2], taps.reshape(1, 1, 5, 1))
    return along_x, along_y


def brightness_products(reference: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """gx², gx·gy, gy², gx·e, gy·e, e², e·m, m² of `(N, 1, H, W)` images, `(N, 8, H, W)`.

    m is the mean of both images, g its gradient and e = reference − sample. With
    I_s(x) = I_r(x − u), e = g·u to second order; e² measures the noise, e·m a change of contrast.
    """
    m = 0.5 * (reference + sample)
    gx, gy = _gradients(m)
    e = reference - sample
    return torch.cat([gx * gx, gx * gy, gy * gy, gx * e, gy * e, e * e, e * m, m * m], dim=1)
