"""Whether a folder can be written, found out before the first frame comes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cade.errors import CadeError


def check_folder(folder: Path, setting: str) -> None:
    """Make a folder and try to write into it.

    Args:
        folder: the folder.
        setting: the setting or option that names it, for the message.

    Raises:
        CadeError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        cause = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise CadeError(
            f"{folder}: cannot be written ({cause}); set {setting} to a place that this user can "
            "write and that has room"
        ) from error
