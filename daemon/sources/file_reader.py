"""Reads files for the folder source: HDF5 in a process of its own, the others here."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cade import files
from cade.files import StoredImage, UnreadableFile
from cade.files.completeness import HDF5_SUFFIXES
from cade.frames import Beamline, Role

_ROOT = Path(__file__).parents[2]
_END_S = 2.0
_ANSWER_S = 8
"""Longest time for one image; a process that takes longer hangs."""


class FileReader:
    """Images and metadata of files in a folder; a context manager, used by one thread.

    Args:
        root: links out of this folder are not followed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        with process:
            with contextlib.suppress(BrokenPipeError):  # it ends by itself, unless HDF5 hangs
                process.stdin.close()  # type: ignore[union-attr]
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def images(self, path: Path, start: int) -> Iterator[StoredImage]:
        """The images of a finished file from number `start` on.

        Raises:
            UnreadableFile: see `cade.files.read`.
        """
        if path.suffix.lower() not in HDF5_SUFFIXES:
            yield from files.read(path, start=start)
            return
        while True:
            head, image = self._ask(path, want="image", index=start)
            if image is None or head["end"]:
                return
            yield image
            start += 1

    def growing(
        self, path: Path, index: int, *, quiet: bool, settled: bool
    ) -> tuple[StoredImage | None, bool]:
        """Image `index` of a file that is being written, None while it is not complete.

        The second value is true where no such image can come any more. See `cade.files.growing`.

        Raises:
            UnreadableFile: the image, or the file, cannot be read.
        """
        head, image = self._ask(path, want="growing", index=index, quiet=quiet, settled=settled)
        return image, head["end"]

    def count(self, path: Path) -> int:
        """How many images of a file that is being written are complete now.

        Raises:
            UnreadableFile: it cannot be read.
        """
        return int(self._ask(path, want="count")[0]["count"])

    def beamline(self, path: Path, diffuser: str) -> Beamline:
        """What the file says about the optics.

        Raises:
            UnreadableFile: see `cade.files.read_beamline`.
        """
        if path.suffix.lower() not in HDF5_SUFFIXES:
            return files.read_beamline(path)
        head, _ = self._ask(path, want="beamline", diffuser=diffuser)
        return Beamline(**head["beamline"])

    def time_s(self, path: Path) -> float | None:
        """When the first image was taken by the file's header, None where that is not known."""
        if path.suffix.lower() not in HDF5_SUFFIXES:
            return files.read_time(path)
        try:
            head, _ = self._ask(path, want="time")
        except UnreadableFile:
            return None
        stated: float | None = head["time_s"]
        return stated

    def _ask(self, path: Path, **request: object) -> tuple[dict[str, Any], StoredImage | None]:
        request |= {"path": os.fspath(path), "within": os.fspath(self._root)}
        process = self._running()
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            self.close()
            raise UnreadableFile(path, "HDF5 crashed or hung on it; it is damaged or truncated")
        head = json.loads(line)
        if "problem" in head:
            raise UnreadableFile(path, head["problem"], index=head["index"])
        if "shape" not in head:
            return head, None
        return head, self._receive(path, process, head)

    def _receive(
        self, path: Path, process: subprocess.Popen[bytes], head: dict[str, Any]
    ) -> StoredImage:
        dtype = np.dtype(head["dtype"])
        size = dtype.itemsize * math.prod(head["shape"])
        assert process.stdout is not None  # noqa: S101
        content = process.stdout.read(size)
        if len(content) < size:
            self.close()
            raise UnreadableFile(path, "the process that reads it has ended")
        data = np.frombuffer(content, dtype).reshape(head["shape"])
        role = None if head["role"] is None else Role(head["role"])
        return StoredImage(data, role, head["time_s"], head["monitor"])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "daemon.sources.hdf5_process", str(_ANSWER_S)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.fspath(_ROOT)},
            )
        return self._process
