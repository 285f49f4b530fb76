"""Giving a file its name without ever taking the place of another one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def rename_new(old: Path, new: Path) -> None:
    """Rename a file; whoever has it open does not notice.

    On a file system without hard links another program could take the name in the instant between
    looking and renaming.

    Raises:
        FileExistsError: `new` exists; both files are as they were.
        OSError: it cannot be renamed.
    """
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new)) from None
        old.rename(new)
    else:
        old.unlink()
