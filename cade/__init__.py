"""CADE: the vocabulary and the physics of speckle-based X-ray phase-contrast imaging."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cade.errors import CadeError, UsageError
from cade.version import __version__

if TYPE_CHECKING:
    from cade.displacement import Displacement, Refraction
    from cade.geometry import Geometry, refraction_angle
    from cade.phase import PhaseIntegrator, integrate_phase

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

# These import torch, which the wire formats and most commands do without.
_LATER = {
    "Displacement": "cade.displacement",
    "Refraction": "cade.displacement",
    "Geometry": "cade.geometry",
    "refraction_angle": "cade.geometry",
    "PhaseIntegrator": "cade.phase",
    "integrate_phase": "cade.phase",
}


def __getattr__(name: str) -> object:
    """What is imported when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
