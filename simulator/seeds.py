"""Independent random numbers for every purpose and index of one seed."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What the random numbers of an emulated scan are drawn for: the second part of their key."""

    DIFFUSER = 0
    PHANTOM = 1
    REFERENCE = 2
    SAMPLE = 3
    FLAT = 4
    DARK = 5
    BAD_PIXELS = 6
    MICROSTRUCTURE = 7


def seeded_generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for a key of integers ≥ 0, independent of that of any other key.

    Generators of the host and of a GPU give different numbers for one key.
    """
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))
