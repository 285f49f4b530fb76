"""A picture of predictions beside the truth."""

from __future__ import annotations

from pathlib import Path

import torch

from cade.errors import CadeError
from models.estimate import Estimate
from models.training.execution import Model, estimate
from simulator.pairs import PairSample

PICTURE = "predictions.png"
COLUMNS = ("reference", "sample", "ux truth ±1 px", "ux found ±1 px", "ux error ±0.2 px")
ROWS = 4
FIELD_PX, ERROR_PX = 1.0, 0.2
"""Displacements and errors at which the colour scale ends."""
_TITLE_PX = 14
_LEAST_PX = 112
"""Panels are at least that wide, for their titles."""
_GAP_PX = 4


@torch.no_grad()
def prediction_picture(model: Model, pairs: PairSample) -> torch.Tensor:
    """One row a pair, `COLUMNS` side by side; `(H, W, 3)` uint8 on the host."""
    reference, sample = pairs.reference[:ROWS], pairs.sample[:ROWS]
    found: Estimate = estimate(model, reference, sample, bfloat16=False)[-1]
    truth_px, found_px = pairs.displacement_px[:ROWS, 0], found.u_px[:, 0]
    columns = [
        _grey(reference),
        _grey(sample),
        _blue_red(truth_px / FIELD_PX),
        _blue_red(found_px / FIELD_PX),
        _blue_red((found_px - truth_px) / ERROR_PX),
    ]
    larger = -(-_LEAST_PX // reference.shape[-1])
    columns = [c.repeat_interleave(larger, -1).repeat_interleave(larger, -2) for c in columns]
    padded = [torch.nn.functional.pad(c, (0, _GAP_PX, 0, _GAP_PX), value=1.0) for c in columns]
    rows = torch.cat(padded, dim=-1)  # (N, 3, H, W)
    whole = torch.cat(list(rows), dim=-2).permute(1, 2, 0)
    return (255 * whole.clamp(0, 1)).round().byte().cpu()


def _grey(images: torch.Tensor) -> torch.Tensor:
    """`(N, H, W)` to `(N, 3, H, W)`, from two deviations below the mean to two above."""
    mean, deviation = images.mean((1, 2), keepdim=True), images.std((1, 2), keepdim=True)
    level = 0.5 + (images - mean) / (4 * deviation.clamp(min=1e-6))
    return level.clamp(0, 1)[:, None].expand(-1, 3, -1, -1)


def _blue_red(values: torch.Tensor) -> torch.Tensor:
    """`(N, H, W)` to `(N, 3, H, W)`: −1 blue, 0 white, 1 red, no number black."""
    value = values.nan_to_num().clamp(-1, 1)
    red, blue = 1 + value.clamp(max=0), 1 - value.clamp(min=0)
    colours = torch.stack([red, torch.minimum(red, blue), blue], dim=1)
    return colours * values.isfinite()[:, None]


def write_picture(image: torch.Tensor, path: Path) -> None:
    """Write the picture with its titles, in one piece.

    Raises:
        CadeError: it cannot be written.
    """
    from PIL import Image, ImageDraw

    height, width, _ = image.shape
    canvas = Image.new("RGB", (width, height + _TITLE_PX), "white")
    canvas.paste(Image.fromarray(image.numpy()), (0, _TITLE_PX))
    pen = ImageDraw.Draw(canvas)
    for index, title in enumerate(COLUMNS):
        pen.text((index * width / len(COLUMNS), 0), title, fill="black")
    partial = path.with_suffix(".part.png")
    try:
        canvas.save(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CadeError(f"picture {path} cannot be written: {error}; free some space") from None
