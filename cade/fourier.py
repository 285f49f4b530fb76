"""Two-dimensional Fourier transforms as two passes of one-dimensional ones.

The inverse 2-D transform of MKL 2024.2, which PyTorch's CPU wheels carry, returns garbage for
complex64 frames of 2048² on two threads of some processors: no error, and every other size is right
(`tests/physics/test_fourier.py` shows it where it happens). Two 1-D passes are right everywhere and
cost the same.
"""

from __future__ import annotations

import torch


def fft2(field: torch.Tensor) -> torch.Tensor:
    """Forward transform over the last two dimensions."""
    result: torch.Tensor = torch.fft.fft(torch.fft.fft(field, dim=-1), dim=-2)
    return result


def ifft2(spectrum: torch.Tensor) -> torch.Tensor:
    """Inverse of `fft2`."""
    result: torch.Tensor = torch.fft.ifft(torch.fft.ifft(spectrum, dim=-2), dim=-1)
    return result


def rfft2(image: torch.Tensor) -> torch.Tensor:
    """Half spectrum `(..., H, W//2 + 1)` of real images `(..., H, W)`."""
    result: torch.Tensor = torch.fft.fft(torch.fft.rfft(image, dim=-1), dim=-2)
    return result


def irfft2(spectrum: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Inverse of `rfft2`, real images of `shape` = `(H, W)`."""
    result: torch.Tensor = torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2), n=shape[1], dim=-1)
    return result
