"""How good a tracker is on patterns it has never seen, beside the limit on the same patterns."""

from models.evaluation.coverage import CoverageRow, coverage_study
from models.evaluation.patches import PatchRow, mean_ratio, patch_study
from models.evaluation.shifts import ReachRow, ShiftRow, reach_study, shift_study
from models.evaluation.unseen import unseen_patterns

__all__ = [
    "CoverageRow",
    "PatchRow",
    "ReachRow",
    "ShiftRow",
    "coverage_study",
    "mean_ratio",
    "patch_study",
    "reach_study",
    "shift_study",
    "unseen_patterns",
]
