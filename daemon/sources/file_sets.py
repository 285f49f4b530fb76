"""Files that belong together: a DECTRIS master file, and the data files that it links to."""

from __future__ import annotations

import re
from pathlib import Path

_PART = re.compile(r"(.+)_data_\d+(\.(?:h5|hdf5|nxs))", re.IGNORECASE)


def master_of(path: Path) -> Path | None:
    """The master file that a data file belongs to by its name, None for other files.

    `scan_data_000001.h5` belongs to `scan_master.h5`. Its images are read through the master, which
    has their order and the metadata; read by itself as well, every image would come twice.
    """
    match = _PART.fullmatch(path.name)
    return None if match is None else path.with_name(f"{match[1]}_master{match[2]}")
