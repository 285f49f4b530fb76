"""Frames for tests of the daemon: any texture that a tracker can follow, made in no time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPE = (96, 112)


def speckle(
    shape: tuple[int, int] = SHAPE, seed: int = 0, sigma_px: float = 1.3
) -> NDArray[np.float64]:
    """`(H, W)` counts: mean 1000, standard deviation 250, grains of about 3 px (2.3 sigma)."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = np.exp(-0.5 * (2 * np.pi * sigma_px) ** 2 * _frequency_squared(shape))
    grains = np.fft.ifft2(np.fft.fft2(noise) * smooth).real
    return np.asarray(1000 + 250 * np.clip(grains / grains.std(), -3.5, 3.5))


def moved(image: NDArray[Any], ux_px: float, uy_px: float) -> NDArray[np.float64]:
    """The image moved right by `ux_px` and down by `uy_px`, around the border."""
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None, :]
    phase = np.exp(-2j * np.pi * (fx * ux_px + fy * uy_px))
    return np.asarray(np.fft.ifft2(np.fft.fft2(image) * phase).real)


def counts(image: NDArray[Any], dtype: str = "uint16") -> NDArray[Any]:
    """The image in the numbers of a detector."""
    return np.round(image).astype(dtype)


def _frequency_squared(shape: tuple[int, int]) -> NDArray[np.float64]:
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :]
    return np.asarray(fy**2 + fx**2)
