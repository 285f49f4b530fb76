"""What a NeXus file says about energy, distances and pixels, converted to SI units once, here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cade.files.nexus_file import NexusFile, attribute_text
from cade.files.stored import UnreadableFile
from cade.frames import Beamline
from cade.geometry import HC_EV_M

LENGTH_M = {
    "m": 1.0,
    "metre": 1.0,
    "meter": 1.0,
    "cm": 1e-2,
    "mm": 1e-3,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "micron": 1e-6,
    "micrometer": 1e-6,
    "nm": 1e-9,
    "angstrom": 1e-10,
    "å": 1e-10,
}
ENERGY_EV = {"ev": 1.0, "kev": 1e3, "mev": 1e6}
"""Lower case: nobody means milli-electronvolts of an X-ray beam."""
TIME_S = {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

ENERGY_PATHS = ("instrument/beam/incident_energy", "instrument/monochromator/energy")
WAVELENGTH_PATHS = (
    "instrument/beam/incident_wavelength",
    "sample/beam/incident_wavelength",
    "instrument/monochromator/wavelength",
)
DETECTOR_PATHS = ("instrument/detector/detector_number", "instrument/detector/serial_number")
DISTANCE_PATHS = ("instrument/detector/distance", "instrument/detector/detector_distance")


def read_hdf5_beamline(path: Path, *, diffuser: str = "", within: Path | None = None) -> Beamline:
    """Energy, pixel, distances, exposure and detector of a NeXus file.

    `diffuser` is the place of the position of the diffuser's motor, such as
    `/entry/instrument/diffuser_x/value`; links must not leave the folder `within`.

    A value that is 0, negative, NaN or infinite says nothing (detectors write 0 for what nobody
    entered) and becomes None. `instrument/source/distance` counts negative upstream in NeXus; its
    size is taken.

    Raises:
        UnreadableFile: a number without `units`, with units that are not known, one that changes
            from frame to frame, or pixels that are not square.
        OSError, RuntimeError, KeyError, ValueError: the file is damaged.
    """
    with NexusFile(path, within=within, swmr=True) as nexus:
        return Beamline(
            energy_ev=_energy(nexus),
            pixel_size_m=_pixel(nexus),
            distance_m=_first(nexus, DISTANCE_PATHS, LENGTH_M),
            source_distance_m=_source_distance(nexus),
            exposure_s=_exposure(nexus),
            detector=_detector(nexus),
            diffuser_m=_position(nexus, diffuser) if diffuser else None,
        )


def _energy(nexus: NexusFile) -> float | None:
    energy_ev = _first(nexus, ENERGY_PATHS, ENERGY_EV)
    if energy_ev is not None:
        return energy_ev
    wavelength_m = _first(nexus, WAVELENGTH_PATHS, LENGTH_M)
    return None if wavelength_m is None else HC_EV_M / wavelength_m


def _pixel(nexus: NexusFile) -> float | None:
    x_m = _first(nexus, ("instrument/detector/x_pixel_size",), LENGTH_M)
    y_m = _first(nexus, ("instrument/detector/y_pixel_size",), LENGTH_M)
    if x_m is not None and y_m is not None and abs(x_m - y_m) > 1e-3 * x_m:
        raise UnreadableFile(nexus.path, f"has pixels that are not square ({x_m} m by {y_m} m)")
    return x_m if x_m is not None else y_m


def _source_distance(nexus: NexusFile) -> float | None:
    values_m = _quantity(nexus, "instrument/source/distance", LENGTH_M)
    return None if values_m is None else _one_value(nexus.path, "source/distance", np.abs(values_m))


def _exposure(nexus: NexusFile) -> float | None:
    values_s = _quantity(nexus, "instrument/detector/count_time", TIME_S)
    if values_s is None:
        return None
    mean_s = float(values_s.mean())  # exposures measured frame by frame differ a little
    return mean_s if np.isfinite(mean_s) and mean_s > 0 else None


def _detector(nexus: NexusFile) -> str | None:
    """The detector's serial number, which tells two of one model apart."""
    for name in DETECTOR_PATHS:
        dataset = nexus.dataset(name)
        if dataset is None or dataset.size != 1:
            continue
        value = dataset[()] if dataset.shape == () else dataset[0]
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if text.strip():
            return text.strip()
    return None


def _position(nexus: NexusFile, name: str) -> float | None:
    values_m = _quantity(nexus, name, LENGTH_M)
    if values_m is None or not np.isfinite(values_m).all():
        return None
    if np.ptp(values_m) > 1e-7:
        problem = f"has a {name} that moves between {values_m.min():g} and {values_m.max():g} m"
        raise UnreadableFile(nexus.path, problem)
    return float(values_m[0])


def _first(nexus: NexusFile, names: tuple[str, ...], units: dict[str, float]) -> float | None:
    for name in names:
        values = _quantity(nexus, name, units)
        value = None if values is None else _one_value(nexus.path, name, values)
        if value is not None:
            return value
    return None


def _one_value(path: Path, name: str, values: NDArray[np.float64]) -> float | None:
    value = float(values[0])
    if not (np.isfinite(values).all() and value > 0):
        return None
    if np.ptp(values) > 1e-3 * value:
        raise UnreadableFile(
            path, f"has a {name} that changes between {values.min():g} and {values.max():g}"
        )
    return value


def _quantity(nexus: NexusFile, name: str, units: dict[str, float]) -> NDArray[np.float64] | None:
    """The numbers at `name` in SI units, `(n,)` with n ≥ 1, or None where there are none."""
    dataset = nexus.dataset(name, nexus.h5 if name.startswith("/") else None)
    if dataset is None or dataset.size in (None, 0):
        return None
    if dataset.dtype.kind not in "uif":
        raise UnreadableFile(nexus.path, f"has {dataset.dtype} in {name}, where a number belongs")
    unit = attribute_text(dataset, "units")
    if unit is None:
        raise UnreadableFile(nexus.path, f"gives {name} without units")
    factor = units.get(unit.strip().lower()) or units.get(unit.strip().lower().removesuffix("s"))
    if factor is None:
        raise UnreadableFile(
            nexus.path, f"gives {name} in {unit!r}; units that are known: {', '.join(units)}"
        )
    return np.ravel(dataset[()]).astype(np.float64) * factor
