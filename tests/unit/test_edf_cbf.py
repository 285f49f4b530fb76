"""EDF and CBF: images, what the headers say, damage, and life without fabio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabio.cbfimage import CbfImage  # type: ignore[import-untyped]
from fabio.edfimage import EdfImage  # type: ignore[import-untyped]
from numpy.typing import NDArray

from cade.files import UnreadableFile, read, read_beamline, read_frames, read_time
from cade.frames import Beamline
from cade.geometry import HC_EV_M

PIXELS = np.random.default_rng(1).integers(0, 60000, (3, 12, 17))
PILATUS = """
# Detector: PILATUS3 6M, S/N 60-0123
# 2024-06-12T12:34:56.250
# Pixel_size 172e-6 m x 172e-6 m
# Exposure_time 0.0950000 s
# Wavelength 0.5000 A
# Detector_distance 0.80000 m
"""


def edf(path: Path, *frames: NDArray[Any], **header: str) -> Path:
    image = EdfImage(data=frames[0], header=header)
    for data in frames[1:]:
        image.append_frame(data=data)
    image.write(str(path))
    return path


def cbf(path: Path, text: str = PILATUS) -> Path:
    header = {"_array_data.header_contents": text, "_array_data.header_convention": "PILATUS_1.2"}
    CbfImage(data=PIXELS[0].astype("i4"), header=header).write(str(path))
    return path


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "u4", "f4", "f8"])
def test_edf_images(tmp_path: Path, dtype: str) -> None:
    data = (PIXELS % 250).astype(dtype)
    path = edf(tmp_path / "0.EDF", *data)
    images = np.stack(list(read_frames(path)))
    assert images.dtype.isnative
    np.testing.assert_array_equal(images, data)
    [last] = read(path, start=2)
    np.testing.assert_array_equal(last.data, data[2])


def test_big_endian_edf(tmp_path: Path) -> None:
    path = edf(tmp_path / "0.edf", PIXELS[0].astype("u2"))
    content = path.read_bytes().replace(b" LowByteFirst ", b"HighByteFirst ")
    head = len(content) - PIXELS[0].size * 2
    path.write_bytes(content[:head] + PIXELS[0].astype(">u2").tobytes())
    np.testing.assert_array_equal(next(read_frames(path)), PIXELS[0])


def test_cbf_image(tmp_path: Path) -> None:
    [image] = read(cbf(tmp_path / "0.cbf"))
    np.testing.assert_array_equal(image.data, PIXELS[0])
    assert image.timestamp_s == pytest.approx(read_time(tmp_path / "0.cbf"))


def test_edf_header(tmp_path: Path) -> None:
    header = {"PSize_1": "6.5e-06", "PSize_2": "6.5e-06 m", "SampleDistance": "0.7"}
    header |= {"WaveLength": "5e-11", "ExposureTime": "0.25", "time_of_day": "1700000000.5"}
    path = edf(tmp_path / "0.edf", PIXELS[0].astype("u2"), **header)
    found = read_beamline(path)
    assert found.energy_ev == pytest.approx(HC_EV_M / 5e-11)
    assert (found.pixel_size_m, found.distance_m, found.exposure_s) == (6.5e-6, 0.7, 0.25)
    assert next(read(path)).timestamp_s == read_time(path) == 1700000000.5


def test_cbf_header(tmp_path: Path) -> None:
    found = read_beamline(cbf(tmp_path / "0.cbf"))
    assert found.energy_ev == pytest.approx(HC_EV_M / 5e-11)
    assert (found.pixel_size_m, found.distance_m) == (172e-6, 0.8)
    assert (found.exposure_s, found.detector) == (0.095, "60-0123")


def test_headers_that_say_nothing(tmp_path: Path) -> None:
    path = edf(tmp_path / "0.edf", PIXELS[0].astype("u2"), SampleDistance="unknown", PSize_1="0")
    assert read_beamline(path) == Beamline()
    assert read_time(path) is None
    assert read_beamline(cbf(tmp_path / "0.cbf", "# Wavelength 5 furlong")) == Beamline()


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = edf(tmp_path / "0.edf", PIXELS[0].astype("u2"), PSize_1="1e-6", PSize_2="2e-6")
    with pytest.raises(UnreadableFile, match="not square"):
        read_beamline(path)


@pytest.mark.parametrize("suffix", [".edf", ".cbf"])
def test_truncated_never_gives_other_images(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"0{suffix}"
    if suffix == ".edf":
        edf(path, PIXELS[0].astype("u2"))
    else:
        cbf(path)
    content = path.read_bytes()
    cut = path.with_name(f"cut{suffix}")
    for length in range(0, len(content) - 8, 37):
        cut.write_bytes(content[:length])
        with pytest.raises(UnreadableFile, match=r"cut\."):
            list(read(cut))


@pytest.mark.parametrize("name", ["Fastest", "Second"])
def test_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path, name: str) -> None:
    path = cbf(tmp_path / "0.cbf")
    old = {"Fastest": b"17", "Second": b"12"}[name]
    stated = b"X-Binary-Size-%s-Dimension: " % name.encode()
    content = path.read_bytes()
    assert stated + old in content
    path.write_bytes(content.replace(stated + old, stated + b"1000000000"))
    with pytest.raises(UnreadableFile, match="above"):
        list(read(path))


def test_without_fabio(tmp_path: Path) -> None:
    """The line names the extra, and that no later try will help."""
    path = edf(tmp_path / "0.edf", PIXELS[0].astype("u2"))
    program = (
        "import sys; sys.modules['fabio'] = None\n"
        "from pathlib import Path\nfrom cade.files import UnreadableFile, read\n"
        "try:\n    list(read(Path(sys.argv[1])))\n"
        "except UnreadableFile as error:\n    print(error, error.hopeless)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{path}: needs fabio: pip install 'cade-daemon[files]' True\n"
