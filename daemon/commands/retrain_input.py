"""What `cade retrain` reads: reference frames with the dark taken off, and the flat's gain.

Files out of the daemon's own store of references hold an average and its variance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from cade.errors import CadeError
from cade.files import read_frames
from cade.frames import Frame, Image, Role
from daemon.checks import check_content
from daemon.correction.correction import Correction
from daemon.process_input import Files, average_correction
from daemon.references.file import read_average
from daemon.settings import CheckSettings
from models.retraining import FrameFile, StoredAverage


def read_correction(files: Files, checks: CheckSettings) -> Correction:
    """What flats and darks make, for frames of the references' shape.

    Raises:
        CadeError: one of the files cannot be read or used.
    """
    first = next(read_frames(files.references[0]), None)
    if first is None:
        raise CadeError(f"{files.references[0]}: holds no frame; leave it out")
    return average_correction(files, first, checks)


def frame_files(
    paths: Sequence[Path], correction: Correction, checks: CheckSettings
) -> list[FrameFile]:
    """The reference files; frames are read, checked and freed from the dark one at a time."""
    return [_frame_file(path, correction, checks) for path in paths]


def _frame_file(path: Path, correction: Correction, checks: CheckSettings) -> FrameFile:
    dark = None if correction.dark is None else torch.from_numpy(correction.dark)

    def frames() -> Iterator[torch.Tensor]:
        for index, image in enumerate(read_frames(path)):
            problem = check_content(Frame("", index, image, 0.0), checks, Role.REFERENCE)
            if problem is not None:
                raise CadeError(
                    f"{path}: frame {index} cannot serve as reference ({problem.reason}: "
                    f"{problem.detail})"
                )
            yield _freed(image, dark)

    return FrameFile(str(path), frames, _stored(path, dark))


def _freed(image: Image, dark: torch.Tensor | None) -> torch.Tensor:
    """Float32 without the dark, NaN where invalid."""
    frame = torch.from_numpy(image.astype("float32"))
    if dark is not None and dark.shape == frame.shape:
        frame = frame - dark  # of another shape: refused by who compares the references
    return torch.where(torch.isfinite(frame), frame, torch.nan)


def _stored(path: Path, dark: torch.Tensor | None) -> StoredAverage | None:
    """What a file of the store knows more than its mean; None for all others."""
    try:
        average = read_average(path)
    except CadeError:
        return None
    if average.count < 2:  # a single frame has no variance
        return None
    return StoredAverage(
        _freed(average.mean, dark), torch.from_numpy(average.variance), average.count
    )


def gain_of(correction: Correction) -> torch.Tensor | None:
    """The flat's gain `(H, W)`, NaN on dead pixels."""
    return None if correction.gain is None else torch.from_numpy(correction.gain)


def hashes(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """The files with their SHA-256."""
    return [(path, _sha256(path)) for path in paths]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CadeError(f"{path}: cannot be read ({error.strerror})") from None
