"""Images and metadata of EDF and CBF files, through fabio (extra `files`).

**EDF** keywords, as ESRF's SX programs define them, in SI units: `PSize_1`, `PSize_2`,
`SampleDistance`, `WaveLength`, `ExposureTime`; and Lima's `acq_expo_time` [s] and `time_of_day`
[Unix time]. **CBF**: the comment lines of DECTRIS' miniCBF, each value with its unit.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cade.files.completeness import completeness
from cade.files.stored import StoredImage, UnreadableFile, check_layout, native
from cade.frames import Beamline
from cade.geometry import HC_EV_M

SUFFIXES = (".edf", ".cbf")
_LENGTH_M = {"m": 1.0, "mm": 1e-3, "A": 1e-10}
_ENERGY_EV = {"eV": 1.0, "keV": 1e3}
_NUMBER = r"\(?\s*([-+.\deE]+)\s*\)?\s+([a-zA-Z]+)"


def read_edf_cbf(path: Path, *, start: int = 0) -> Iterator[StoredImage]:
    """Images `(H, W)` from number `start` on.

    Raises:
        UnreadableFile: truncated or not images, or fabio is not installed.
    """
    with _opened(path) as file:
        for index in range(start, file.nframes):
            frame = file.getframe(index) if file.nframes > 1 else file
            check_layout(path, tuple(frame.shape), frame.dtype)
            data = frame.data
            if data is None or data.shape != tuple(frame.shape):
                raise UnreadableFile(path, f"image {index} is damaged", index=index)
            yield StoredImage(native(data), timestamp_s=_time_s(_keywords(frame)))


def read_edf_cbf_time(path: Path) -> float | None:
    """When the first image was taken [s, Unix time], None where the header does not say."""
    with _opened(path) as file:
        return _time_s(_keywords(file))


def read_edf_cbf_beamline(path: Path) -> Beamline:
    """Energy, pixel, distance, exposure and detector, as far as the header says.

    Raises:
        UnreadableFile: it cannot be read, or fabio is not installed.
    """
    with _opened(path) as file:
        header = _keywords(file)
    if path.suffix.lower() == ".cbf":
        return _of_cbf(path, header.get("_array_data.header_contents", ""))
    wavelength_m = _positive(header.get("wavelength"))
    sizes_m = _positive(header.get("psize_1")), _positive(header.get("psize_2"))
    return Beamline(
        energy_ev=HC_EV_M / wavelength_m if wavelength_m else None,
        pixel_size_m=_square(path, *sizes_m),
        distance_m=_positive(header.get("sampledistance")),
        exposure_s=_positive(header.get("exposuretime")) or _positive(header.get("acq_expo_time")),
    )


def _opened(path: Path) -> Any:
    """What fabio makes of it; its shape is checked before its pixels are decoded."""
    try:
        from fabio.cbfimage import CbfImage  # type: ignore[import-untyped]
        from fabio.edfimage import EdfImage  # type: ignore[import-untyped]
    except ImportError as error:
        problem = "needs fabio: pip install 'cade-daemon[files]'"
        raise UnreadableFile(path, problem, hopeless=True) from error
    logging.getLogger("fabio").setLevel(logging.CRITICAL)  # it is reported here, as an error
    found = completeness(path)
    if found.problem:
        raise UnreadableFile(path, found.problem)
    if path.suffix.lower() == ".edf":
        return EdfImage().read(str(path))
    _check_cbf(path)
    return CbfImage().read(str(path))


def _check_cbf(path: Path) -> None:
    """Look at the size first: fabio decodes a CBF while it opens it."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    sides = []
    for name in (b"Second", b"Fastest"):
        stated = re.search(rb"X-Binary-Size-" + name + rb"-Dimension:\s*(\d+)", head)
        if stated is None:
            raise UnreadableFile(path, "does not state the size of its image")
        sides.append(int(stated[1]))
    check_layout(path, tuple(sides), np.dtype(np.int32))


def _keywords(frame: Any) -> dict[str, str]:
    return {str(key).lower(): str(value).strip() for key, value in frame.header.items()}


def _time_s(header: dict[str, str]) -> float | None:
    if "_array_data.header_contents" in header:
        text = header["_array_data.header_contents"]
        stated = re.search(r"\d{4}[-/]\w{2,3}[-/]\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?", text)
        try:
            return datetime.fromisoformat(stated[0]).timestamp() if stated else None
        except ValueError:
            return None
    return _positive(header.get("time_of_day"))


def _of_cbf(path: Path, text: str) -> Beamline:
    wavelength_m = _stated(text, "Wavelength", _LENGTH_M)
    pixels = re.search(rf"Pixel_size\s+{_NUMBER}\s*x\s*{_NUMBER}", text)
    sizes_m: tuple[float | None, float | None] = (None, None)
    if pixels is not None:
        sizes_m = _in(pixels[1], pixels[2], _LENGTH_M), _in(pixels[3], pixels[4], _LENGTH_M)
    serial = re.search(r"Detector:?\s.*?S/N\s+([\w-]+)", text)
    return Beamline(
        energy_ev=HC_EV_M / wavelength_m if wavelength_m else None,
        pixel_size_m=_square(path, *sizes_m),
        distance_m=_stated(text, "Detector_distance", _LENGTH_M),
        exposure_s=_stated(text, "Exposure_time", {"s": 1.0, "ms": 1e-3}),
        detector=serial[1] if serial else None,
    )


def _stated(text: str, name: str, units: dict[str, float]) -> float | None:
    found = re.search(rf"\b{name}\s+{_NUMBER}", text)
    return None if found is None else _in(found[1], found[2], units)


def _in(number: str, unit: str, units: dict[str, float]) -> float | None:
    value = _positive(number)
    return None if value is None or unit not in units else value * units[unit]


def _positive(text: str | None) -> float | None:
    """A number above 0, also with a unit behind it that says metres or seconds."""
    try:
        value = float(re.sub(r"\s*(m|s)$", "", text or ""))
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _square(path: Path, x_m: float | None, y_m: float | None) -> float | None:
    if x_m is not None and y_m is not None and abs(x_m - y_m) > 1e-3 * x_m:
        raise UnreadableFile(path, f"has pixels that are not square ({x_m} m by {y_m} m)")
    return x_m if x_m is not None else y_m
