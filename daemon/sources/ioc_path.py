"""A file as an IOC names it, found on this machine."""

from __future__ import annotations

import re
import stat
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath


def local_path(name: str, root: Path, ioc_root: str) -> Path:
    """Where the file is here.

    Args:
        name: the full name by the IOC, of Linux or of Windows.
        root: the folder here in which it must be, resolved.
        ioc_root: that folder as the IOC names it; empty where the names are the same.

    Raises:
        ValueError: it is not in that folder, or leads out of it.
    """
    kind = _kind(name)
    base = ioc_root or str(root)
    try:
        inside = kind(name).relative_to(kind(base))
    except ValueError:
        raise ValueError(f"is not inside {base}; set ioc_path and path of the source") from None
    path = root.joinpath(*inside.parts)
    try:
        leads_out = ".." in inside.parts or not path.resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):  # links in a circle, impossible names
        leads_out = True
    if leads_out or path == root:
        raise ValueError(f"leads out of {root}; such files are not read")
    return path


def is_plain(path: Path) -> bool:
    """Whether a file is a regular one, or is not there."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _kind(name: str) -> type[PurePath]:
    windows = "\\" in name or re.match(r"[A-Za-z]:", name)
    return PureWindowsPath if windows else PurePosixPath
