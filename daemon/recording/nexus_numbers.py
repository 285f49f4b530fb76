"""Numbers in a NeXus file: each with its unit."""

from __future__ import annotations

from typing import Any

import h5py


def write_number(group: h5py.Group, name: str, value: Any, units: str) -> None:
    """A number, or an array of them, with its unit; dimensionless is ""."""
    group.create_dataset(name, data=value).attrs["units"] = units
