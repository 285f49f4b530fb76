"""A beamline's own references as training patterns, and whether the weights got better by it."""

from models.retraining.comparison import Comparison, compare
from models.retraining.material import Material, gather_material
from models.retraining.mixture import MixedPairs
from models.retraining.plan import RetrainingPlan, retraining_recipe
from models.retraining.recordings import FrameFile, StoredAverage

__all__ = [
    "Comparison",
    "FrameFile",
    "Material",
    "MixedPairs",
    "RetrainingPlan",
    "StoredAverage",
    "compare",
    "gather_material",
    "retraining_recipe",
]
