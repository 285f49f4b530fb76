"""Where a series is written: a free file name under the output folder."""

from __future__ import annotations

import itertools
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from cade.errors import UsageError
from daemon.settings import OutputSettings


def output_path(settings: OutputSettings, series_number: int, start_time_s: float) -> Path:
    """A path that no file has yet, from the template `output.path`; `start` is UTC.

    A taken name gets `_1`, `_2` … before its suffix, so that a restarted daemon begins the next
    segment and never writes into a file that is there.

    Raises:
        UsageError: the template cannot be filled in, or leads out of `output.root`.
    """
    root = Path(os.path.abspath(settings.root))  # noqa: PTH100 - links in it are the user's choice
    try:
        text = settings.path.format(
            root=root,
            proposal=safe_name(settings.proposal),
            series=series_number,
            start=datetime.fromtimestamp(start_time_s, UTC),
        )
    except (KeyError, IndexError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(
            f"output.path: {settings.path!r} cannot be filled in ({error}); "
            "it may use {root}, {proposal}, {series:06d} and {start:%Y%m%d}"
        ) from error
    wanted = Path(os.path.normpath(root / text))
    if root not in wanted.parents:
        raise UsageError(f"output.path: {wanted} is not inside output.root = {root}")
    return next(path for path in _names(wanted) if not os.path.lexists(path))


def safe_name(name: str) -> str:
    """A name that is one part of a path: no separators, not hidden, not empty, ≤ 100 letters."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".")[:100] or "unnamed"


def _names(wanted: Path) -> itertools.chain[Path]:
    numbered = (wanted.with_stem(f"{wanted.stem}_{n}") for n in itertools.count(1))
    return itertools.chain([wanted], numbered)
