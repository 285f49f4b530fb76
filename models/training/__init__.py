"""The trainer: fresh pairs for every batch, checkpoints that resume, an averaged network."""

from models.training.log import LOG, LOG_EVERY, Progress
from models.training.patterns import PATTERNS, training_patterns
from models.training.processes import ALONE, Processes
from models.training.sources import FreshPairs, PairSource, pair_settings, training_limits
from models.training.stored_pairs import StoredPairs, with_stored_pairs
from models.training.trainer import CHECKPOINT, Trainer

__all__ = [
    "ALONE",
    "CHECKPOINT",
    "LOG",
    "LOG_EVERY",
    "PATTERNS",
    "FreshPairs",
    "PairSource",
    "Processes",
    "Progress",
    "StoredPairs",
    "Trainer",
    "pair_settings",
    "training_limits",
    "training_patterns",
    "with_stored_pairs",
]
