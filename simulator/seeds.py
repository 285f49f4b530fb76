"""Independent random numbers for every purpose and index of one seed."""

from __future__ import annotations

import numpy as np
import torch


def seeded_generator(*key: int) -> torch.Generator:
    """A generator on the host for a key of integers ≥ 0, independent of that of any other key."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
