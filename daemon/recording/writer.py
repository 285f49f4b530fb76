"""The result file of one series, written so that other processes can follow it (HDF5 SWMR)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.frames import Rejected
from daemon.recording.new_name import rename_new
from daemon.recording.nexus_layout import create_layout, iso_time
from daemon.recording.nexus_pvs import frame_columns
from daemon.recording.result_fields import COLUMNS, fixed_text, written_images
from daemon.recording.results import ResultRows
from daemon.recording.scan_header import ScanHeader
from daemon.settings import OutputSettings

FORMAT = ("v110", "v110")
"""The newest file format that HDF5 1.10 to 2.x all read, and the oldest with SWMR."""


class ResultWriter:
    """Writes rows into a new NeXus file; never into one that is already there.

    `/entry/frames/image_id` is extended last: its length is the number of complete rows. Use
    from one thread, as a context manager or with `close`.

    Args:
        path: the file to create; missing folders are made.
        header: the series.
        settings: which fields are written, and how they are compressed.

    Raises:
        CadeError: the file exists, or its folder cannot be written.
    """

    def __init__(self, path: Path, header: ScanHeader, settings: OutputSettings) -> None:
        self.path = path
        self.row_count = 0
        self._header = header
        self._images = written_images(header, settings)
        self._columns = (*COLUMNS, *frame_columns(header.metadata))
        self._last_time_s = header.start_time_s
        self._file = self._create(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, rows: ResultRows) -> None:
        """Write rows and make them visible to readers.

        Raises:
            CadeError: the disk is full or fails. Rows of earlier calls stay readable; the file
                takes no more.
            ValueError: rows of another shape, length or series, or without a field that is written.
        """
        images, columns = self._checked_images(rows), self._checked_columns(rows)
        start, stop = self.row_count, self.row_count + len(rows)
        with self._disk():
            for name, values in images.items():
                dataset = self._file[name]
                dataset.resize(stop, axis=0)
                for index, image in enumerate(values, start=start):
                    dataset[index] = _masked(image, rows.displacement.valid[index - start])
                dataset.flush()
            for name, values in columns.items():
                _extend(self._file["entry/frames"][name], start, values)
            _extend(self._file["entry/frames/image_id"], start, rows.image_ids)
        self.row_count = stop
        if len(rows):
            self._last_time_s = float(rows.timestamps_s[-1])

    def reject(self, rejected: Rejected) -> None:
        """Note a frame that was not processed, and why.

        Raises:
            CadeError: the disk is full or fails.
        """
        with self._disk():
            group = self._file["entry/rejected"]
            start = group["image_id"].shape[0]
            _extend(group["reason"], start, [fixed_text(rejected.reason)])
            _extend(group["image_id"], start, [rejected.image_id])

    def close(self) -> None:
        """Finish the file; safe to call twice, and after an error.

        Raises:
            CadeError: the disk is full or fails. The rows written before stay readable.
        """
        if not self._file:
            return
        with self._disk():
            self._file["entry/end_time"][()] = iso_time(self._last_time_s)
            self._file.flush()
            self._file.close()

    def _create(self, settings: OutputSettings) -> h5py.File:
        # Made in memory and written as plain bytes: HDF5 does not survive a full disk here.
        content = _static_content(self._header, settings)
        # Nobody may open the file before it is in SWMR mode: HDF5's lock would refuse the writer.
        # So it gets its name last. No pattern of a watched folder matches the hidden one.
        hidden = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_created(error) from error
        try:
            with contextlib.ExitStack() as undo:
                with hidden.open("xb") as stream:
                    undo.callback(hidden.unlink)
                    stream.write(content)
                file = undo.enter_context(h5py.File(hidden, "r+", libver=FORMAT))
                file.swmr_mode = True
                rename_new(hidden, self.path)
                undo.pop_all()
        except FileExistsError as error:
            raise CadeError(
                f"{self.path}: exists already and is never overwritten; move it or set output.path"
            ) from error
        except (OSError, RuntimeError) as error:
            raise self._not_created(error) from error
        return file

    def _not_created(self, error: Exception) -> CadeError:
        return CadeError(
            f"{self.path}: cannot be created ({_cause(error)}); set output.root to a folder that "
            "this user can write and that has room"
        )

    def _checked_images(self, rows: ResultRows) -> dict[str, NDArray[Any]]:
        """Every image of the rows by its place in the file, all looked at before any is written."""
        if rows.series_id != self._header.series_id:
            raise ValueError(f"rows of series {rows.series_id} for {self._header.series_id}")
        expected = (len(rows), *self._header.shape)
        images: dict[str, NDArray[Any]] = {}
        for field in self._images:
            name, values = f"entry/{field.group}/{field.name}", field.of(rows)
            if values is None or values.shape != expected:
                found = "nothing" if values is None else values.shape
                raise ValueError(f"{name} needs shape {expected}, not {found}")
            images[name] = values
        return images

    def _checked_columns(self, rows: ResultRows) -> dict[str, Any]:
        columns = {column.name: column.of(rows) for column in self._columns}
        for name, values in columns.items():
            if len(values) != len(rows):
                raise ValueError(f"frames/{name} has {len(values)} values for {len(rows)} rows")
        return columns

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        if not self._file:
            raise CadeError(f"{self.path}: is closed, or was given up when writing failed")
        try:
            yield
        except (OSError, RuntimeError) as error:  # h5py has both for a failed write
            _abandon(self._file)
            raise CadeError(
                f"{self.path}: cannot be written ({_cause(error)}); {self.row_count} complete rows "
                "are in it; make room there or set output.root to another place"
            ) from error


def _static_content(header: ScanHeader, settings: OutputSettings) -> bytes:
    """The bytes of a file that has every object and no row."""
    with h5py.File("layout", "w", driver="core", backing_store=False, libver=FORMAT) as file:
        create_layout(file, header, settings)
        file.flush()
        return bytes(file.id.get_file_image())


def _abandon(file: h5py.File) -> None:
    """Close a file whose disk fails; what HDF5 has not written yet is lost.

    Without this HDF5 keeps trying, and crashes the process when it ends.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


def _masked(image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    if valid.all():
        return image.astype(np.float32, copy=False)
    return np.where(valid, image, np.nan).astype(np.float32, copy=False)


def _extend(column: h5py.Dataset, start: int, values: Any) -> None:
    column.resize(start + len(values), axis=0)
    column[start:] = values
    column.flush()


def _cause(error: Exception) -> str:
    """The system's own words, which HDF5 has inside a long message."""
    found = re.search(r"error message = '([^']*)'", str(error))
    if found:
        return found[1]
    return getattr(error, "strerror", None) or " ".join(str(error).split())
