"""The Neumann Poisson solver: the inverse of the 5-point Laplacian by fast cosine transforms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class PoissonSolver:
    """Solves L φ = b, L = DᵀD with D the differences between neighbouring pixels, all equal.

    L has natural (Neumann) boundaries and is diagonal in the DCT-II. The transform is Makhoul's
    (IEEE Trans. ASSP 28, 27, 1980): even samples, then the odd ones reversed, one real FFT of the
    same length and a twiddle e^{-iπk/2n}. The real part of bin k is then coefficient k and minus
    the imaginary part is coefficient n − k, so the half spectrum holds every coefficient, and
    dividing by the eigenvalues needs no unpacking. Cost: two real FFTs and two inverse ones of
    the frame itself, a quarter of what the FFT of the mirrored frame takes.

    Made by `PoissonSolver.of`; frozen, so that one may serve many calls and threads.
    """

    row_twiddle: torch.Tensor
    column_twiddle: torch.Tensor
    inverse_eigenvalues: torch.Tensor

    @classmethod
    def of(cls, shape: tuple[int, int], device: torch.device, dtype: torch.dtype) -> PoissonSolver:
        """The solver for `(H, W)` frames; its tables take about as much memory as one frame."""
        row_values = _packed_eigenvalues(shape[0])[:, None, None, :]
        column_values = _packed_eigenvalues(shape[1])[None, :, :, None]
        eigenvalues = row_values + column_values
        # The piston is the null space: 1/∞ = 0 removes it.
        eigenvalues[0, 0, 0, 0] = math.inf
        return cls(
            row_twiddle=_twiddle(shape[0])[:, None, None].to(device, dtype.to_complex()),
            column_twiddle=_twiddle(shape[1]).to(device, dtype.to_complex()),
            inverse_eigenvalues=(1 / eigenvalues).to(device, dtype),
        )

    def __call__(self, b: torch.Tensor) -> torch.Tensor:
        """The mean-free φ `(N, H, W)` of `b` `(N, H, W)`; the mean of b, if any, is ignored."""
        height, width = b.shape[-2:]
        half = torch.fft.rfft(_even_then_odd(_even_then_odd(b, -1), -2))
        packed = torch.view_as_real(half.mul_(self.column_twiddle))
        spectrum = torch.fft.rfft(packed, dim=-3).mul_(self.row_twiddle)
        torch.view_as_real(spectrum).mul_(self.inverse_eigenvalues)
        packed = torch.fft.irfft(spectrum.mul_(self.row_twiddle.conj()), n=height, dim=-3)
        half = torch.view_as_complex(packed.contiguous()).mul_(self.column_twiddle.conj())
        return _interleaved(_interleaved(torch.fft.irfft(half, n=width), -2), -1)


def _even_then_odd(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Samples 0, 2, 4 … and then … 5, 3, 1 along `dim` (slices: gathering is far slower)."""
    even, odd = _parts(values, dim)
    return torch.cat((even, odd.flip(dim)), dim)


def _interleaved(values: torch.Tensor, dim: int) -> torch.Tensor:
    """The inverse of `_even_then_odd`."""
    restored = torch.empty_like(values)
    even, odd = _parts(restored, dim)
    even.copy_(values.narrow(dim, 0, even.shape[dim]))
    odd.copy_(values.narrow(dim, even.shape[dim], odd.shape[dim]).flip(dim))
    return restored


def _parts(values: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    if dim == -1:
        return values[..., ::2], values[..., 1::2]
    return values[..., ::2, :], values[..., 1::2, :]


def _twiddle(n: int) -> torch.Tensor:
    angle = -math.pi / (2 * n) * torch.arange(n // 2 + 1, dtype=torch.float64)
    return torch.polar(torch.ones_like(angle), angle)


def _packed_eigenvalues(n: int) -> torch.Tensor:
    """4 sin²(πk/2n) of coefficients k (real part) and n − k (imaginary part), `(n//2 + 1, 2)`.

    The imaginary part of bin 0 is always zero; k = n stands there and only must not be zero.
    """
    k = torch.arange(n // 2 + 1, dtype=torch.float64)
    k = torch.stack((k, n - k), dim=-1)
    return 4 * torch.sin(math.pi / (2 * n) * k) ** 2
