"""A program that writes an HDF5 file in SWMR mode, told line by line what to do next.

Run as a script: `growing_writer.py FILE OPTIONS`, OPTIONS being JSON. Each line on standard input
is answered with a line when it is done: `swmr`, `frames A B`, `pixels A B` (without their numbers),
`extend N` (longer, nothing written), `close`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

SHAPE = (24, 32)


def picture(index: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint16]:
    """Image `index`: no two are alike, no pixel is zero."""
    noise = np.random.default_rng(index).integers(1, 1000, shape)
    return (noise + 1000 * (index % 60)).astype(np.uint16)


class GrowingFile:
    """The other end: the program in a process of its own, a context manager."""

    def __init__(self, path: Path, *, swmr: bool = True, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(path), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "open"
        if swmr:
            self.do("swmr")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def do(self, command: str) -> None:
        """Let it do something, and wait until it is done."""
        self.tell(command)
        assert self._line() == "done"

    def tell(self, command: str) -> None:
        """Let it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()
        with self._process:
            pass

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def main(path: str, options: dict[str, Any]) -> None:
    """The program."""
    shape = tuple(options.get("shape", SHAPE))
    source = np.load(options["source"]) if "source" in options else None
    chunks = (1, shape[0] // options.get("parts", 1), shape[1])
    packed: Any = hdf5plugin.Bitshuffle(cname="lz4") if options.get("packed") else {}
    with h5py.File(path, "w", libver=options.get("libver", "v110")) as file:
        data = file.create_dataset(
            "entry/data/data",
            (0, *shape),
            "u2",
            maxshape=(options.get("most"), *shape),
            chunks=chunks,
            **packed,
        )
        unique = None
        if options.get("numbered"):
            name = "entry/instrument/NDAttributes/NDArrayUniqueId"
            unique = file.create_dataset(name, (0,), "i4", maxshape=(None,), chunks=(16,))
        file["entry/instrument/detector/x_pixel_size"] = 10.0
        file["entry/instrument/detector/x_pixel_size"].attrs["units"] = "um"
        file["entry/instrument/beam/incident_energy"] = 30.0
        file["entry/instrument/beam/incident_energy"].attrs["units"] = "keV"
        print("open", flush=True)
        for line in sys.stdin:
            command, *numbers = line.split()
            if command == "close":
                break
            if command == "swmr":
                file.swmr_mode = True
            elif command == "extend":
                data.resize(int(numbers[0]), axis=0)
                data.flush()
            elif command in ("frames", "pixels"):
                for index in range(*map(int, numbers)):
                    if index >= len(data):
                        data.resize(index + 1, axis=0)
                    data[index] = picture(index, shape) if source is None else source[index]
                    data.flush()
                    if unique is not None and command == "frames":
                        unique.resize(max(len(unique), index + 1), axis=0)
                        unique[index] = index + 1
                        unique.flush()
            print("done", flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
