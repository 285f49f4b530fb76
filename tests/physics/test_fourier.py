"""The transforms against NumPy, at the size and thread count where MKL's own 2-D inverse fails."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cade.fourier import fft2, ifft2, irfft2, rfft2


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(96, 60), (2048, 2048)])
def test_complex_transforms(shape: tuple[int, int], threads: int) -> None:
    field = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    spectrum = fft2(field)
    expected = np.fft.fft2(field.numpy())
    assert np.abs(spectrum.numpy() - expected).max() < 1e-5 * np.abs(expected).max()
    assert (ifft2(spectrum) - field).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(96, 60), (61, 45), (2048, 2048)])
def test_real_transforms(shape: tuple[int, int], threads: int) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    spectrum = rfft2(image)
    expected = np.fft.rfft2(image.numpy())
    assert np.abs(spectrum.numpy() - expected).max() < 1e-5 * np.abs(expected).max()
    assert (irfft2(spectrum, shape) - image).abs().max() < 1e-5
