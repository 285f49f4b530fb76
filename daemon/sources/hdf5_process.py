"""A process that reads HDF5 files for the folder source, because HDF5 can hang or crash on them.

Opening a truncated file in SWMR mode can take HDF5 minutes, during which h5py's global lock would
hold up the writer of results as well. So files that others have made are opened in a process of
their own, which gives itself a time for each answer; the daemon starts another one when it is gone.

A request is a line of JSON. An answer is a line of JSON, and behind it the bytes of an image.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cade.files import StoredImage, UnreadableFile, read, read_beamline, read_time
from cade.files.growing import GrowingImages

_MOST_OPEN = 4

Answer = tuple[dict[str, Any], StoredImage | None]


class Hdf5Server:
    """Answers requests; keeps the files that are being followed or read open."""

    def __init__(self) -> None:
        self._growing: OrderedDict[tuple[str, int], GrowingImages] = OrderedDict()
        self._reading: tuple[tuple[str, int], int, Iterator[StoredImage]] | None = None

    def answer(self, request: dict[str, Any]) -> Answer:
        """The answer to one request, a problem included."""
        path = Path(request["path"])
        within = Path(request["within"])
        try:
            return self._wanted(path, within, request)
        except UnreadableFile as error:
            self._reading = None
            return {"problem": error.problem, "index": error.index}, None
        except FileNotFoundError:
            self._drop(path)
            return {"problem": "does not exist", "index": None}, None
        except Exception as error:  # noqa: BLE001 - h5py raises almost every one on damaged bytes
            self._drop(path)
            cause = " ".join(str(error).split())
            problem = f"cannot be read ({type(error).__name__}: {cause})"
            return {"problem": problem, "index": None}, None

    def _wanted(self, path: Path, within: Path, request: dict[str, Any]) -> Answer:
        match request["want"]:
            case "image":
                return self._next_image(path, within, request["index"])
            case "growing":
                return self._grown_image(path, within, request)
            case "count":
                return {"count": self._open(path, within).count()}, None
            case "time":
                return {"time_s": read_time(path, within=within)}, None
            case _:
                found = read_beamline(path, diffuser=request["diffuser"], within=within)
                return {"beamline": dataclasses.asdict(found)}, None

    def _next_image(self, path: Path, within: Path, index: int) -> Answer:
        key = _key(path)
        if self._reading is None or self._reading[:2] != (key, index):
            self._drop(path)
            self._reading = (key, index, read(path, start=index, within=within))
        images = self._reading[2]
        image = next(images, None)
        self._reading = None if image is None else (key, index + 1, images)
        return {"end": image is None}, image

    def _grown_image(self, path: Path, within: Path, request: dict[str, Any]) -> Answer:
        growing, index = self._open(path, within), request["index"]
        image = growing.image(index, quiet=request["quiet"], settled=request["settled"])
        return {"end": image is None and growing.is_last(index)}, image

    def _open(self, path: Path, within: Path) -> GrowingImages:
        key = _key(path)
        if key not in self._growing:
            self._drop(path)
            self._growing[key] = GrowingImages(path, within=within)
        self._growing.move_to_end(key)
        while len(self._growing) > _MOST_OPEN:
            self._growing.popitem(last=False)[1].close()
        return self._growing[key]

    def _drop(self, path: Path) -> None:
        """Close whatever is open of that name."""
        for key in [key for key in self._growing if key[0] == str(path)]:
            self._growing.pop(key).close()


def _key(path: Path) -> tuple[str, int]:
    return str(path), path.stat().st_ino


def main() -> None:
    """Answer until standard input ends; the argument is the longest time for one answer [s]."""
    answer_s = int(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process wherever it hangs
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may come between
    server = Hdf5Server()
    for line in sys.stdin.buffer:
        signal.alarm(answer_s)
        head, image = server.answer(json.loads(line))
        signal.alarm(0)
        if image is not None:
            head |= {"shape": image.data.shape, "dtype": image.data.dtype.str}
            head |= {"role": image.role, "time_s": image.timestamp_s, "monitor": image.monitor}
        output.write(json.dumps(head).encode() + b"\n")
        if image is not None:
            output.write(np.ascontiguousarray(image.data).data)
        output.flush()


if __name__ == "__main__":
    main()
