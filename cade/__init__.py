"""CADE: the vocabulary and the physics of speckle-based X-ray phase-contrast imaging."""

from cade.displacement import Displacement, Refraction
from cade.errors import CadeError, UsageError
from cade.geometry import Geometry, refraction_angle
from cade.phase import PhaseIntegrator, integrate_phase
from cade.version import __version__

__all__ = [
    "CadeError",
    "Displacement",
    "Geometry",
    "PhaseIntegrator",
    "Refraction",
    "UsageError",
    "__version__",
    "integrate_phase",
    "refraction_angle",
]
