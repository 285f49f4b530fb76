"""The processing steps of a result file, with what is needed to repeat them."""

from __future__ import annotations

from dataclasses import dataclass

import h5py

from cade.geometry import Geometry
from cade.version import __version__
from daemon.recording.scan_header import Parameter, ScanHeader, TrackerProvenance
from daemon.settings import OutputSettings


@dataclass(frozen=True, slots=True)
class ProcessStep:
    """One NXprocess."""

    name: str
    program: str
    version: str
    parameters: tuple[Parameter, ...]


def create_processes(
    entry: h5py.Group, header: ScanHeader, settings: OutputSettings, date: str
) -> None:
    """Write `process_1_correction` … and the configuration that all of them ran under."""
    note = _create_configuration(entry, header.configuration_toml)
    for index, step in enumerate(_steps(header, settings), start=1):
        group = entry.create_group(f"process_{index}_{step.name}")
        group.attrs["NX_class"] = "NXprocess"
        group["program"] = step.program
        group["version"] = step.version
        group["date"] = date
        _write(group, Parameter("sequence_index", index))
        group["configuration"] = note
        parameters = group.create_group("parameters")
        parameters.attrs["NX_class"] = "NXparameters"
        for parameter in step.parameters:
            _write(parameters, parameter)


def _create_configuration(entry: h5py.Group, toml: str) -> h5py.Group:
    note = entry.create_group("configuration")
    note.attrs["NX_class"] = "NXnote"
    note["type"] = "application/toml"
    note["description"] = "effective configuration"
    note["data"] = toml
    return note


def _write(group: h5py.Group, parameter: Parameter) -> None:
    dataset = group.create_dataset(parameter.name, data=parameter.value)
    if not isinstance(parameter.value, str | bool):
        dataset.attrs["units"] = parameter.units


def _steps(header: ScanHeader, settings: OutputSettings) -> tuple[ProcessStep, ...]:
    steps = (
        ProcessStep("correction", "cade-daemon", __version__, header.corrections),
        _tracking(header.tracker),
    )
    if header.geometry is None:
        return steps
    return (*steps, _refraction(header.geometry), _phase(header.geometry, settings.remove_tilt))


def _tracking(tracker: TrackerProvenance) -> ProcessStep:
    weights = [
        Parameter(name, value)
        for name, value in (
            ("weights", tracker.weights_name),
            ("weights_sha256", tracker.weights_sha256),
        )
        if value is not None
    ]
    return ProcessStep(
        "displacement", tracker.name, tracker.version, (*weights, *tracker.parameters)
    )


def _refraction(geometry: Geometry) -> ProcessStep:
    return ProcessStep(
        "refraction",
        "cade-daemon",
        __version__,
        (
            Parameter("pixel_size", geometry.pixel_size_m, "m"),
            Parameter("propagation_distance", geometry.distance_m, "m"),
        ),
    )


def _phase(geometry: Geometry, remove_tilt: bool) -> ProcessStep:
    return ProcessStep(
        "phase",
        "cade-daemon",
        __version__,
        (
            Parameter("energy", geometry.energy_ev, "eV"),
            Parameter("sample_pixel_size", geometry.sample_pixel_m, "m"),
            Parameter("remove_tilt", remove_tilt),
        ),
    )
