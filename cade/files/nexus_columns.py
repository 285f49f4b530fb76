"""What an HDF5 file says about each of its images: role, time, number, monitor."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cade.files.nexus_file import NexusFile
from cade.files.stored import UnreadableFile
from cade.frames import Role

ROLE_OF_IMAGE_KEY = {0: Role.SAMPLE, 1: Role.REFERENCE, 2: Role.DARK}
INVALID_IMAGE_KEY = 3
EPICS_EPOCH_S = 631_152_000
"""1990-01-01 in Unix time."""
_KEYS = ("instrument/detector/image_key", "data/image_key")
_ATTRIBUTES = "instrument/NDAttributes/"
_MONITORS = ("control/data", "monitor/data")
UNIQUE_ID = (_ATTRIBUTES + "NDArrayUniqueId", _ATTRIBUTES + "NDArrayUniqueID")


class Columns:
    """Roles and times of the images, by their place in the file.

    Raises:
        UnreadableFile: an `image_key` with values that mean nothing.
    """

    def __init__(self, nexus: NexusFile) -> None:
        self._nexus = nexus
        self._keys = self._read_keys()
        self._times_s = EpicsTimes(nexus).all()
        self._monitors = self._read_monitors()

    @property
    def key_each(self) -> bool:
        """Whether images have a key of their own."""
        return self._keys is not None and self._keys.size > 1

    def check(self, count: int) -> None:
        """Whether they fit that many images.

        Raises:
            UnreadableFile: there are more or fewer values of `image_key`.
        """
        if self._keys is not None and self._keys.size not in (1, count):
            problem = f"has {self._keys.size} image_key values for {count} images"
            raise UnreadableFile(self._nexus.path, problem)
        if self._times_s is not None and self._times_s.size != count:
            self._times_s = None
        if self._monitors is not None and self._monitors.size != count:
            self._monitors = None

    def is_invalid(self, index: int) -> bool:
        """Whether the image is marked as one to leave out."""
        return self._key(index) == INVALID_IMAGE_KEY

    def role(self, index: int) -> Role | None:
        """What the image shows, None where the file does not say."""
        key = self._key(index)
        return None if key is None else ROLE_OF_IMAGE_KEY.get(key)

    def time_s(self, index: int) -> float | None:
        """When it was taken [s, Unix time], None where the file does not say."""
        if self._times_s is None or index >= self._times_s.size:
            return None
        return float(self._times_s[index])

    def monitor(self, index: int) -> float | None:
        """The beam's monitor meanwhile (NXmonitor), None where the file does not say."""
        if self._monitors is None or index >= self._monitors.size:
            return None
        return float(self._monitors[index])

    def _key(self, index: int) -> int | None:
        if self._keys is None or (self._keys.size <= index and self._keys.size != 1):
            return None
        return int(self._keys[index if self._keys.size > 1 else 0])

    def _read_keys(self) -> NDArray[Any] | None:
        found = next(filter(None, map(self._nexus.dataset, _KEYS)), None)
        if found is None:
            return None
        keys = np.ravel(found[()])
        known = (*ROLE_OF_IMAGE_KEY, INVALID_IMAGE_KEY)
        if not np.isin(keys, known).all():
            raise UnreadableFile(self._nexus.path, f"has image_key values other than {known}")
        return keys

    def _read_monitors(self) -> NDArray[np.float64] | None:
        found = next(filter(None, map(self._nexus.dataset, _MONITORS)), None)
        if found is None or found.dtype.kind not in "uif" or found.ndim > 1:
            return None
        return np.ravel(found[()]).astype(np.float64)


class EpicsTimes:
    """areaDetector's two columns of times; `columns` are the datasets, None where they are not."""

    def __init__(self, nexus: NexusFile) -> None:
        self.columns = tuple(_column(nexus, f"NDArrayEpicsTS{unit}") for unit in ("Sec", "nSec"))

    def all(self) -> NDArray[np.float64] | None:
        """Every time [s, Unix time], None where there are none."""
        seconds, nanoseconds = self.columns
        if seconds is None or nanoseconds is None:
            return None
        if seconds.shape != nanoseconds.shape:
            return None
        times: NDArray[np.float64] = seconds[()].astype(np.float64) + nanoseconds[()] * 1e-9
        return times + EPICS_EPOCH_S

    def at(self, index: int) -> float | None:
        """One time [s, Unix time], None where it has not been written (yet)."""
        seconds, nanoseconds = self.columns
        if seconds is None or nanoseconds is None:
            return None
        if index >= min(len(seconds), len(nanoseconds)) or seconds[index] == 0:
            return None
        return float(seconds[index]) + float(nanoseconds[index]) * 1e-9 + EPICS_EPOCH_S


def _column(nexus: NexusFile, name: str) -> h5py.Dataset | None:
    found = nexus.dataset(_ATTRIBUTES + name)
    if found is None or found.ndim != 1 or found.dtype.kind not in "uif":
        return None
    return found
