"""The store of references: a folder of HDF5 files, one averaged reference each.

A file appears complete or not at all, so the daemon and `cade references` may use one store at
the same time. Pixels carry checksums; a damaged file is reported and passed over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import tifffile

from cade.errors import CadeError
from cade.frames import Image, Reference
from daemon.references.average import Average
from daemon.references.conditions import Conditions
from daemon.references.file import ReferenceSummary, read_average, read_summary, write_reference
from daemon.references.screen import screened_average

UNKNOWN = Conditions()
_REFERENCE_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in the store, oldest first, and one line for each damaged file."""

    references: tuple[ReferenceSummary, ...]
    damaged: tuple[str, ...]


class ReferenceStore:
    """References in a folder, which is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        frames: Iterable[tuple[str, Image]],
        *,
        timestamp_s: float,
        conditions: Conditions = UNKNOWN,
        origin: str = "",
        monitor: float | None = None,
    ) -> ReferenceSummary:
        """Average frames into one reference and store it.

        Args:
            frames: images `(H, W)` in counts with their names, all of one shape, taken one at a
                time. A pixel that is NaN in one of them is NaN in the reference. Of five or more,
                those unlike the others are left out (`daemon.references.screen`).
            timestamp_s: when they were taken, POSIX time in s.
            conditions: under which they were taken.
            origin: series or files they come from.
            monitor: the beam's, meanwhile.

        Raises:
            CadeError: no frames, frames of different shapes, or a folder that cannot be written.
        """
        result = replace(screened_average(frames), monitor=monitor)
        return self.keep(result, timestamp_s=timestamp_s, conditions=conditions, origin=origin)

    def keep(
        self,
        result: Average,
        *,
        timestamp_s: float,
        conditions: Conditions = UNKNOWN,
        origin: str = "",
    ) -> ReferenceSummary:
        """Store an average; as `add` otherwise."""
        rows, columns = result.mean.shape
        summary = ReferenceSummary(
            reference_id=_reference_id(result, conditions, timestamp_s),
            timestamp_s=timestamp_s,
            shape=(rows, columns),
            frame_count=result.count,
            origin=origin,
            conditions=conditions,
            left_out=result.left_out,
        )
        write_reference(self._path(summary.reference_id), summary, result)
        return summary

    def list(self) -> Listing:
        """Everything in the store, without its pixels."""
        references, damaged = [], []
        for path in sorted(self.folder.glob("[!.]*.h5")):
            try:
                references.append(read_summary(path))
            except CadeError as error:
                if path.exists():  # else somebody has just removed it
                    damaged.append(str(error))
        references.sort(key=lambda summary: (summary.timestamp_s, summary.reference_id))
        return Listing(tuple(references), tuple(damaged))

    def ids(self) -> set[str]:
        """The ids of everything in the store, damaged or not, without opening it."""
        return {path.stem for path in self.folder.glob("[!.]*.h5")}

    def summary(self, reference_id: str) -> ReferenceSummary:
        """A reference without its pixels; raises as `show`."""
        return read_summary(self._path(reference_id))

    def load(self, summary: ReferenceSummary) -> Reference:
        """A reference as samples are tracked against it; raises as `show`."""
        average = read_average(self._path(summary.reference_id))
        return Reference(
            summary.reference_id,
            average.mean,
            summary.frame_count,
            summary.timestamp_s,
            average.monitor,
        )

    def show(self, reference_id: str) -> tuple[ReferenceSummary, Average]:
        """A reference with all that is known of it.

        Raises:
            CadeError: there is none of this id, or it is damaged.
        """
        path = self._path(reference_id)
        return read_summary(path), read_average(path)

    def remove(self, reference_id: str) -> None:
        """Delete a reference, damaged or not.

        Raises:
            CadeError: there is none of this id, or it cannot be deleted.
        """
        path = self._path(reference_id)
        try:
            path.unlink()
        except FileNotFoundError:
            raise CadeError(f"{path}: no such reference; see cade references list") from None
        except OSError as error:
            raise CadeError(
                f"{path}: cannot be removed ({error.strerror}); check the folder's permissions"
            ) from None

    def export(self, reference_id: str, file: Path) -> None:
        """Write the mean as a float32 TIFF `(H, W)` in counts.

        Raises:
            CadeError: no such reference, a damaged one, or a file that exists or cannot be made.
        """
        summary, result = self.show(reference_id)
        description = f"{summary.reference_id}: mean of {summary.frame_count} frames"
        try:
            with file.open("xb") as target:
                tifffile.imwrite(target, result.mean, description=description)
        except FileExistsError:
            raise CadeError(f"{file}: exists; remove it or name another file") from None
        except OSError as error:
            raise CadeError(
                f"{file}: cannot be written ({error.strerror}); name another place"
            ) from None

    def _path(self, reference_id: str) -> Path:
        if not _REFERENCE_ID.fullmatch(reference_id):
            raise CadeError(
                f"{reference_id!r}: not the id of a reference; see cade references list"
            )
        return self.folder / f"{reference_id}.h5"


def _reference_id(result: Average, conditions: Conditions, timestamp_s: float) -> str:
    """Time, to sort by, and a hash that tells references of the same second apart."""
    digest = hashlib.sha256(f"{conditions!r}\n{timestamp_s!r}\n{result.mean.shape}".encode())
    digest.update(result.mean.tobytes())
    time = datetime.fromtimestamp(timestamp_s, UTC)
    return f"{time:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"
