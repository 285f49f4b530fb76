"""Reference frames as a beamline would store them, with noise and drift that are known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from models.retraining import FrameFile
from tests.speckle import moved, speckle

SHAPE = (160, 200)


def frames(
    count: int,
    *,
    seed: int = 3,
    photons: float = 500.0,
    gain: float = 1.0,
    read: float = 0.0,
    drift_px: float = 0.0,
    shape: tuple[int, int] = SHAPE,
    noise_seed: int = 1,
) -> NDArray[np.float32]:
    """`(count, H, W)`: frame k has moved right by k · `drift_px`, and the beam flickers by 3 %."""
    rng = np.random.default_rng(noise_seed)
    pattern = speckle(shape, seed) / 1000
    made = []
    for k in range(count):
        light = np.clip(moved(pattern, k * drift_px, 0), 0, None) * photons
        light *= 1 + 0.03 * np.sin(2.0 * k)
        made.append(gain * rng.poisson(light) + rng.normal(0, read, shape))
    return np.asarray(made, np.float32)


def frame_file(stack: NDArray[np.float32], name: str = "a.npy") -> FrameFile:
    """The frames of a stack, read as often as wanted."""

    def read() -> Iterator[torch.Tensor]:
        yield from (torch.from_numpy(frame.copy()) for frame in stack)

    return FrameFile(name, read)
