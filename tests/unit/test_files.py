"""Reading files: what goes in comes out, and what is damaged is said to be so."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.files import UnreadableFile, read, read_beamline, read_frames
from cade.frames import Beamline, Role
from cade.geometry import HC_EV_M

SHAPE = (24, 31)
STACK: NDArray[np.uint16] = (
    np.random.default_rng(3).integers(1, 60000, (5, *SHAPE)).astype(np.uint16)
)


def frames(path: Path) -> NDArray[Any]:
    return np.stack(list(read_frames(path)))


def write_npy(path: Path, data: NDArray[Any]) -> Path:
    np.save(path, data)
    return path


def write_tiff(path: Path, data: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, data, **options)
    return path


def write_hdf5(
    path: Path, data: NDArray[Any], name: str = "/entry/data/data", **options: Any
) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=data, **options)
    return path


WRITERS = {".npy": write_npy, ".tif": write_tiff, ".h5": write_hdf5}


# ---------------------------------------------------------------- formats and number types


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    "dtype", ["u1", "<u2", ">u2", "<u4", ">i2", "<i4", "<f4", ">f4", "<f8", ">f8"]
)
def test_every_number_type_keeps_its_values_in_native_order(
    tmp_path: Path, suffix: str, dtype: str
) -> None:
    data = (STACK % 120).astype(dtype)
    options: dict[str, Any] = (
        {"byteorder": dtype[0]} if suffix == ".tif" and dtype[0] in "<>" else {}
    )
    path = WRITERS[suffix](tmp_path / f"x{suffix}", data, **options)
    result = frames(path)
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, data)


@pytest.mark.parametrize("suffix", WRITERS)
def test_one_image_and_nan(tmp_path: Path, suffix: str) -> None:
    data = STACK[0].astype(np.float32)
    data[3, 4] = np.nan
    images = list(read(WRITERS[suffix](tmp_path / f"x{suffix}", data)))
    assert len(images) == 1
    assert images[0].role is None
    assert images[0].timestamp_s is None
    np.testing.assert_array_equal(images[0].data, data)


def test_upper_case_suffix(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.TIF", STACK)
    np.testing.assert_array_equal(frames(path), STACK)


def write_separate_pages(path: Path) -> None:
    for image in STACK:
        tifffile.imwrite(path, image, append=True)


TIFF_KINDS: dict[str, Callable[[Path], object]] = {
    "contiguous": lambda path: tifffile.imwrite(path, STACK),
    "big": lambda path: tifffile.imwrite(path, STACK, bigtiff=True),
    "big-endian": lambda path: tifffile.imwrite(path, STACK, byteorder=">"),
    "zlib": lambda path: tifffile.imwrite(path, STACK, compression="zlib"),
    "imagej": lambda path: tifffile.imwrite(path, STACK, imagej=True),
    "one directory": lambda path: tifffile.imwrite(path, STACK, truncate=True),
    "plain": lambda path: tifffile.imwrite(path, STACK, metadata=None),
    "separate": write_separate_pages,
}


@pytest.mark.parametrize("kind", TIFF_KINDS)
def test_tiff_kinds(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.tif"
    TIFF_KINDS[kind](path)
    np.testing.assert_array_equal(frames(path), STACK)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_memory_orders(tmp_path: Path, order: Any) -> None:
    path = write_npy(tmp_path / "x.npy", np.asarray(STACK, order=order))
    np.testing.assert_array_equal(frames(path), STACK)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (1, *SHAPE), **hdf5plugin.Bitshuffle(cname="lz4")},
        {"chunks": (1, *SHAPE), **hdf5plugin.LZ4()},
        {"chunks": (2, 8, 8), "compression": "gzip"},
    ],
    ids=["bitshuffle", "lz4", "gzip"],
)
def test_hdf5_filters(tmp_path: Path, options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(frames(write_hdf5(tmp_path / "x.h5", STACK, **options)), STACK)


# ---------------------------------------------------------------- damage


def truncated(path: Path, length: int) -> Path:
    content = path.read_bytes()
    cut = path.with_name(f"cut{path.suffix}")
    cut.write_bytes(content[:length])
    return cut


def check_truncations(path: Path, seed: int) -> None:
    size = path.stat().st_size
    positions = {0, 1, 7, 8, size - 1, *np.random.default_rng(seed).integers(2, size, 40).tolist()}
    failures = 0
    for length in sorted(positions):
        cut = truncated(path, length)
        try:
            result = frames(cut)
        except UnreadableFile as error:
            failures += 1
            assert str(error).startswith(f"{cut}: ")  # noqa: PT017 - many positions, one test
            assert "\n" not in str(error)  # noqa: PT017
        else:  # only padding was cut away
            np.testing.assert_array_equal(result, STACK)
    assert failures > 30


@pytest.mark.parametrize("kind", [kind for kind in TIFF_KINDS if kind != "separate"])
def test_truncated_tiff_never_gives_other_frames(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.tif"
    TIFF_KINDS[kind](path)
    check_truncations(path, 5)


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_truncated_array_never_gives_other_frames(tmp_path: Path, suffix: str) -> None:
    check_truncations(WRITERS[suffix](tmp_path / f"x{suffix}", STACK), 6)


def test_truncated_column_major_npy(tmp_path: Path) -> None:
    check_truncations(write_npy(tmp_path / "x.npy", np.asfortranarray(STACK)), 7)


def test_half_written_tiff_has_no_page(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(b"II*\0\0\0\0\0" + bytes(1000))  # no directory yet
    with pytest.raises(UnreadableFile, match="no page"):
        frames(path)


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".h5"])
def test_garbage_empty_and_missing_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    with pytest.raises(UnreadableFile, match="does not exist"):
        frames(path)
    for content in (b"", b"not an image at all" * 50, bytes(4096)):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile, match="x"):
            frames(path)


def test_folder_and_other_suffix(tmp_path: Path) -> None:
    folder = tmp_path / "folder.h5"
    folder.mkdir()
    with pytest.raises(UnreadableFile):
        frames(folder)
    other = tmp_path / "x.png"
    other.write_bytes(b"png")
    with pytest.raises(UnreadableFile, match=r"\.tif"):
        frames(other)


@pytest.mark.parametrize(
    "data",
    [
        np.ones((3, 4, 4), np.complex64),
        np.ones((4, 4), bool),
        np.full((4, 4), "text"),
        np.array([[{}, 1]], dtype=object),
        np.zeros((4, 4), [("a", "f4"), ("b", "u1")]),
        np.zeros((0,), np.uint16),
        np.zeros((0, 4, 4), np.uint16),
        np.zeros((3, 0, 4), np.uint16),
        np.zeros(5),
        np.zeros((2, 2, 2, 2)),
        np.float64(3),
    ],
    ids=lambda data: f"{data.dtype.kind}{data.shape}",
)
def test_arrays_that_are_no_images(tmp_path: Path, data: NDArray[Any]) -> None:
    with pytest.raises(UnreadableFile):
        frames(write_npy(tmp_path / "x.npy", data))
    if data.dtype.kind in "UO":
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("entry/data/data", (2, 2), h5py.string_dtype())
    else:
        write_hdf5(tmp_path / "x.h5", data)
    with pytest.raises(UnreadableFile):
        frames(tmp_path / "x.h5")


def test_colour_and_complex_tiff(tmp_path: Path) -> None:
    rgb = write_tiff(tmp_path / "rgb.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(UnreadableFile, match="one grey image"):
        frames(rgb)
    waves = write_tiff(tmp_path / "c.tif", np.zeros((8, 8), np.complex64))
    with pytest.raises(UnreadableFile, match="complex64"):
        frames(waves)


def test_a_claim_of_too_many_pixels_is_refused_before_reading(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/data/data", (1, 1 << 20, 1 << 20), "u2", chunks=(1, 64, 64))
    with pytest.raises(UnreadableFile, match="above"):
        frames(tmp_path / "x.h5")


HOLD_OPEN = """
import sys, h5py
with h5py.File(sys.argv[1], "w") as file:
    file.create_dataset("entry/data/data", (2, 8, 8), "u2")[...] = 7
    file.flush()
    print("written", flush=True)
    sys.stdin.readline()
"""


def test_a_file_open_for_writing_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    writing = subprocess.Popen(
        [sys.executable, "-c", HOLD_OPEN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writing:
        assert writing.stdout is not None
        assert writing.stdout.readline() == b"written\n"
        with pytest.raises(UnreadableFile):
            frames(path)
        writing.communicate(b"\n")
    assert frames(path).shape == (2, 8, 8)


# ---------------------------------------------------------------- HDF5 layouts


@pytest.mark.parametrize("name", ["/entry/data/data", "/entry/instrument/detector/data"])
@pytest.mark.parametrize("data", [STACK, STACK[1]], ids=["3-D", "2-D"])
def test_fixed_places(tmp_path: Path, name: str, data: NDArray[Any]) -> None:
    result = frames(write_hdf5(tmp_path / "x.nxs", data, name))
    np.testing.assert_array_equal(result, data.reshape(-1, *SHAPE))


@pytest.mark.parametrize("as_bytes", [False, True])
def test_default_and_signal_lead_to_the_images(tmp_path: Path, as_bytes: bool) -> None:
    def text(value: str) -> Any:
        return np.bytes_(value) if as_bytes else value

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["default"] = text("scan")
        file.create_group("scan").attrs["default"] = text("camera")
        file.create_group("scan/camera").attrs["signal"] = text("counts")
        file["scan/camera/counts"] = STACK
    np.testing.assert_array_equal(frames(tmp_path / "x.h5"), STACK)


def test_the_only_nxentry_is_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("scan_7").attrs["NX_class"] = "NXentry"
        file["scan_7/data/data"] = STACK
    np.testing.assert_array_equal(frames(tmp_path / "x.h5"), STACK)


def test_no_images_says_where_they_were_looked_for(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "x.h5", STACK, "/other/place")
    with pytest.raises(UnreadableFile, match="detector/data"):
        frames(path)
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        file.create_group("entry").attrs["default"] = "/entry"  # a chain without an end
    with pytest.raises(UnreadableFile, match="detector/data"):
        frames(path)


def master(tmp_path: Path) -> Path:
    for number, part in ((1, STACK[:2]), (2, STACK[2:])):
        write_hdf5(tmp_path / f"s_data_{number:06d}.h5", part, **hdf5plugin.Bitshuffle())
    with h5py.File(tmp_path / "s_master.h5", "w") as file:
        for number in (2, 1):
            file[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(
                f"s_data_{number:06d}.h5", "/entry/data/data"
            )
    return tmp_path / "s_master.h5"


def test_master_file_with_external_links(tmp_path: Path) -> None:
    np.testing.assert_array_equal(frames(master(tmp_path)), STACK)


def test_dangling_external_link_is_named(tmp_path: Path) -> None:
    path = master(tmp_path)
    (tmp_path / "s_data_000002.h5").unlink()
    with pytest.raises(UnreadableFile, match=r"s_data_000002\.h5"):
        frames(path)


def test_missing_source_of_a_virtual_dataset(tmp_path: Path) -> None:
    source = write_hdf5(tmp_path / "part.h5", STACK, "/data")
    layout = h5py.VirtualLayout(STACK.shape, "u2")
    layout[:] = h5py.VirtualSource("part.h5", "/data", STACK.shape)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    np.testing.assert_array_equal(frames(tmp_path / "x.h5"), STACK)
    source.unlink()
    with pytest.raises(UnreadableFile, match=r"part\.h5"):
        frames(tmp_path / "x.h5")


def test_virtual_dataset_that_promises_more_than_its_sources_have(tmp_path: Path) -> None:
    """What is there is delivered; HDF5 would read the rest as zeros, for ever."""
    write_hdf5(tmp_path / "part.h5", STACK, "/data")
    layout = h5py.VirtualLayout((10**12, *SHAPE), "u2")
    layout[:] = h5py.VirtualSource("part.h5", "/data", (10**12, *SHAPE))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    images = read(tmp_path / "x.h5")
    np.testing.assert_array_equal(np.stack([next(images).data for _ in STACK]), STACK)
    with pytest.raises(UnreadableFile, match=r"takes image 5 from part\.h5, which has 5 images"):
        next(images)


def test_places_that_were_never_written_are_no_images(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("entry/data/data", (10**9, *SHAPE), "u2", chunks=(1, *SHAPE))
        data[:5] = STACK
    np.testing.assert_array_equal(frames(tmp_path / "x.h5"), STACK)


@pytest.mark.parametrize("suffix", WRITERS)
def test_from_an_image_on(tmp_path: Path, suffix: str) -> None:
    path = WRITERS[suffix](tmp_path / f"x{suffix}", STACK)
    for start in (0, 3, 5, 9):
        images = [image.data for image in read(path, start=start)]
        assert len(images) == max(0, 5 - start)
        assert all(np.array_equal(a, b) for a, b in zip(images, STACK[start:], strict=True))


@pytest.mark.parametrize("place", ["instrument/detector", "data"])
def test_image_key_gives_roles_and_skips_invalid(tmp_path: Path, place: str) -> None:
    path = write_hdf5(tmp_path / "x.h5", STACK)
    with h5py.File(path, "a") as file:
        file[f"entry/{place}/image_key"] = [1, 3, 0, 2, 0]
    images = list(read(path))
    assert [image.role for image in images] == [Role.REFERENCE, Role.SAMPLE, Role.DARK, Role.SAMPLE]
    np.testing.assert_array_equal(np.stack([image.data for image in images]), STACK[[0, 2, 3, 4]])


def test_one_image_key_for_all(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "x.h5", STACK)
    with h5py.File(path, "a") as file:
        file["entry/instrument/detector/image_key"] = 1
    assert [image.role for image in read(path)] == [Role.REFERENCE] * 5


@pytest.mark.parametrize("keys", [[0, 1], [0, 1, 2, 0, 4], [0, 0, 0, 0, -1]])
def test_image_key_that_does_not_fit(tmp_path: Path, keys: list[int]) -> None:
    path = write_hdf5(tmp_path / "x.h5", STACK)
    with h5py.File(path, "a") as file:
        file["entry/instrument/detector/image_key"] = keys
    with pytest.raises(UnreadableFile, match="image_key"):
        frames(path)


def test_area_detector_times(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "x.h5", STACK)
    with h5py.File(path, "a") as file:
        file["entry/instrument/NDAttributes/NDArrayEpicsTSSec"] = np.arange(5) + 1_000_000_000
        file["entry/instrument/NDAttributes/NDArrayEpicsTSnSec"] = np.full(5, 500_000_000)
    assert [image.timestamp_s for image in read(path)] == [1_631_152_000.5 + n for n in range(5)]


# ---------------------------------------------------------------- what a file says about the optics


Value = tuple[Any, str | None]


def beamline_file(path: Path, **values: Value) -> Path:
    """Keyword `a__b` is the path `entry/instrument/a/b`; a unit of None leaves `units` away."""
    with h5py.File(path, "w") as file:
        for name, (value, unit) in values.items():
            dataset = file.create_dataset(f"entry/instrument/{name.replace('__', '/')}", data=value)
            if unit is not None:
                dataset.attrs["units"] = unit
    return path


def test_units_are_converted(tmp_path: Path) -> None:
    path = beamline_file(
        tmp_path / "x.nxs",
        beam__incident_energy=(25.0, "keV"),
        detector__x_pixel_size=(6.5, "um"),
        detector__y_pixel_size=(6.5, "µm"),
        detector__distance=([700.0, 700.0], "mm"),
        detector__count_time=([19.0, 21.0], "ms"),
        source__distance=(-145.0, "metres"),
    )
    found = read_beamline(path)
    assert found.energy_ev == pytest.approx(25e3)
    assert found.pixel_size_m == pytest.approx(6.5e-6)
    assert found.distance_m == pytest.approx(0.7)
    assert found.source_distance_m == pytest.approx(145)
    assert found.exposure_s == pytest.approx(0.020)


@pytest.mark.parametrize(
    ("values", "energy_ev"),
    [
        ({"monochromator__energy": (30000.0, "eV")}, 30e3),
        ({"beam__incident_wavelength": (0.5, "angstrom")}, HC_EV_M / 0.5e-10),
        ({"monochromator__wavelength": (0.05, "nm")}, HC_EV_M / 0.5e-10),
        ({"beam__incident_energy": (0.0, "eV"), "monochromator__energy": (8.0, "keV")}, 8e3),
        ({"source__energy": (6.0, "GeV")}, None),  # that of the electrons
    ],
)
def test_energy_from(tmp_path: Path, values: dict[str, Value], energy_ev: float | None) -> None:
    found = read_beamline(beamline_file(tmp_path / "x.h5", **values)).energy_ev
    assert found == (None if energy_ev is None else pytest.approx(energy_ev, rel=1e-12))


def test_files_that_say_nothing(tmp_path: Path) -> None:
    assert read_beamline(write_tiff(tmp_path / "x.tif", STACK)) == Beamline()
    assert read_beamline(write_hdf5(tmp_path / "x.h5", STACK)) == Beamline()
    unset = beamline_file(
        tmp_path / "unset.h5",
        detector__detector_distance=(0.0, "m"),
        detector__x_pixel_size=(math.nan, "m"),
        detector__count_time=(-1.0, "s"),
    )
    assert read_beamline(unset) == Beamline()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"detector__x_pixel_size": (6.5, "furlong")}, "furlong"),
        ({"detector__x_pixel_size": (6.5, "eV")}, "units that are known"),
        ({"detector__distance": (0.7, None)}, "without units"),
        ({"beam__incident_energy": ("25", "keV")}, "where a number belongs"),
        ({"beam__incident_energy": ([20.0, 25.0], "keV")}, "changes between 20000 and 25000"),
        (
            {"detector__x_pixel_size": (6.5, "um"), "detector__y_pixel_size": (13.0, "um")},
            "not square",
        ),
    ],
)
def test_metadata_that_cannot_be_used(
    tmp_path: Path, values: dict[str, Value], message: str
) -> None:
    with pytest.raises(UnreadableFile, match=message):
        read_beamline(beamline_file(tmp_path / "x.h5", **values))


def test_beamline_of_a_damaged_or_missing_file(tmp_path: Path) -> None:
    path = beamline_file(tmp_path / "x.h5", beam__incident_energy=(25.0, "keV"))
    with pytest.raises(CadeError, match=r"cut\.h5: is truncated"):
        read_beamline(truncated(path, path.stat().st_size - 10))
    with pytest.raises(CadeError, match="does not exist"):
        read_beamline(tmp_path / "none.h5")
