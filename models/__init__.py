"""Everything that turns a pair of frames into a displacement field."""

from models.registry import TRACKERS, load_tracker
from models.tracker import Provenance, Tracker

__all__ = ["TRACKERS", "Provenance", "Tracker", "load_tracker"]
