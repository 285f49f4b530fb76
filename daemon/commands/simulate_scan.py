"""The scan that the options of `cade simulate phantom` describe."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cade.errors import UsageError

if TYPE_CHECKING:
    from simulator.composite import Sample
    from simulator.detector import Detector
    from simulator.materials import Material
    from simulator.optics import Optics
    from simulator.phantom import Phantom
    from simulator.scan import Scan

_GOES_WITH = {
    "number": ("hills", "spheres", "rods"),
    "radius_um": ("spheres", "rods"),
    "largest_px": ("hills", "wedge"),
    "angle_deg": ("rods",),
    "map": ("map",),
    "map_pitch_um": ("map",),
}
"""Kinds that an option has a meaning for."""


def phantom_scan(arguments: argparse.Namespace) -> Scan:
    """The scan, nothing of which is computed yet.

    Raises:
        UsageError: options that do not go together, or a value that cannot be.
    """
    from simulator.scan import PROPAGATE_EVERY, Scan

    _check_options(arguments)
    optics = _optics(arguments)
    return Scan(
        _sample_at(arguments, optics),
        arguments.shape,
        arguments.seed,
        optics=optics,
        counts=arguments.counts,
        # Only hills have no edges, so that a displaced reference shows them as well.
        propagate_every=PROPAGATE_EVERY if arguments.kind == "hills" else 1,
        detector=_detector(arguments),
    )


def _check_options(arguments: argparse.Namespace) -> None:
    for name, kinds in _GOES_WITH.items():
        if getattr(arguments, name) is not None and arguments.kind not in kinds:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} goes with --kind {' or '.join(kinds)}")
    if arguments.kind == "map" and (arguments.map is None or arguments.map_pitch_um is None):
        raise UsageError("--kind map needs --map FILE and --map-pitch-um P")
    if arguments.scatter_grain_um is not None and arguments.scatter is None:
        raise UsageError("--scatter-grain-um needs --scatter URAD")
    for name in ("radius_um", "largest_px", "scatter", "scatter_grain_um"):
        value = getattr(arguments, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} must be a positive number, not {value:g}")
    if arguments.angle_deg is not None and not math.isfinite(arguments.angle_deg):
        raise UsageError(f"--angle-deg must be a number, not {arguments.angle_deg:g}")


def _optics(arguments: argparse.Namespace) -> Optics:
    from simulator.optics import Optics

    return Optics(
        energy_ev=arguments.energy_kev * 1e3,
        source_distance_m=arguments.source_distance_m,
        distance_m=arguments.distance_m,
        pixel_size_m=arguments.pixel_um * 1e-6,
        oversampling=arguments.oversampling,
    )


def _detector(arguments: argparse.Namespace) -> Detector:
    from simulator.detector import Detector

    return Detector(
        gain=arguments.gain,
        dark_level=arguments.dark_level,
        read_noise=arguments.read_noise,
        saturation=arguments.saturation,
        dtype=arguments.dtype,
        bad_pixels=arguments.bad_pixels,
        bad_seed=arguments.seed,
    )


def _sample_at(arguments: argparse.Namespace, optics: Optics) -> Callable[[int], Sample]:
    """The sample of every frame: hills move, the others are at rest."""
    from simulator.hill_phantom import HillPhantom
    from simulator.scan import DEMO_STEP_PX

    phantom = _phantom(arguments, optics)
    scatter = _scatter(arguments, optics, phantom)
    if not isinstance(phantom, HillPhantom):
        sample = scatter(phantom)
        return lambda _: sample
    hills = phantom
    step_x_m, step_y_m = (step * optics.geometry.sample_pixel_m for step in DEMO_STEP_PX)
    return lambda index: scatter(hills.moved(index * step_x_m, index * step_y_m))


def _scatter(
    arguments: argparse.Namespace, optics: Optics, phantom: Phantom
) -> Callable[[Phantom], Sample]:
    """What turns the phantom, wherever it has moved, into a sample that scatters if asked for."""
    from simulator.composite import Composite
    from simulator.microstructure import scattering
    from simulator.projection import pixel_grid

    if arguments.scatter is None:
        return lambda moved: moved
    thickest_m = float(phantom.thickness_m(*pixel_grid(optics, arguments.shape)).max())
    grain_um = arguments.scatter_grain_um
    structure = scattering(
        phantom,
        optics,
        thickest_m,
        arguments.scatter * 1e-6,
        grain_um and grain_um * 1e-6,
        arguments.seed,
    )
    return lambda moved: Composite((moved,), replace(structure, phantom=moved))


def _phantom(arguments: argparse.Namespace, optics: Optics) -> Phantom:
    """The phantom of that kind, in the first frame."""
    from simulator.hill_phantom import random_hills
    from simulator.materials import material
    from simulator.rod_phantom import random_rods
    from simulator.seeds import Purpose, seeded_generator
    from simulator.sine_phantom import sine_phantom
    from simulator.sphere_phantom import random_spheres
    from simulator.wedge_phantom import wedge

    shape: tuple[int, int] = arguments.shape
    made_of = material(arguments.material, optics.energy_ev)
    generator = seeded_generator(arguments.seed, Purpose.PHANTOM)
    number, largest_px = arguments.number, arguments.largest_px
    radius_m = arguments.radius_um and arguments.radius_um * 1e-6
    match arguments.kind:
        case "sine":
            return sine_phantom(optics, shape, made_of=made_of)
        case "hills":
            return random_hills(optics, shape, generator, number or 6, largest_px or 0.9, made_of)
        case "spheres":
            return random_spheres(optics, shape, generator, made_of, number or 6, radius_m)
        case "wedge":
            return wedge(optics, shape, made_of, largest_px or 0.25)
        case "rods":
            angle_deg = arguments.angle_deg
            angle_rad = None if angle_deg is None else math.radians(angle_deg)
            return random_rods(optics, shape, generator, made_of, number or 4, radius_m, angle_rad)
    return _map_phantom(arguments, optics, made_of)


def _map_phantom(arguments: argparse.Namespace, optics: Optics, made_of: Material) -> Phantom:
    """The first image of the user's file."""
    from cade.files import read_frames
    from simulator.thickness_map import thickness_map

    image = next(read_frames(arguments.map), None)
    if image is None:
        raise UsageError(f"--map {arguments.map}: has no image")
    return thickness_map(optics, arguments.shape, made_of, image, arguments.map_pitch_um * 1e-6)
