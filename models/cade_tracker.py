"""The CADE tracker: a coarse stage and a trained network on normalised frames of any size."""

from __future__ import annotations

import torch
from torch.nn import functional

from cade.displacement import Displacement
from models.architectures import channels_last
from models.coarse import RANGE_PX, coarse_displacement, settled_sample
from models.normalisation import normalise
from models.tiling import tiles
from models.tracker import Provenance, Tracker
from models.weights_file import load_weights

LEAST_CONTRAST = 0.008
"""Reference visibility below which no speckle is tracked."""
CPU_BYTES = 1_000_000_000
"""That a tile's activations may take: beyond, larger tiles save no time worth the memory."""
GPU_SHARE = 0.5
"""Of the free device memory that a tile's activations may take."""


class CadeTracker(Tracker):
    """A network with weights from `models.weights` or a file.

    Args:
        weights: shipped name or path of a .safetensors file.
        device: where the network runs.
        tile_px: most pixels of a tile; by default what memory allows.
        batched: track as many whole frames together as fit a tile. By default on a GPU only: a CPU
            is not faster for it, and one frame at a time stays in its cache.
    """

    def __init__(
        self,
        weights: str,
        device: torch.device,
        tile_px: int | None = None,
        *,
        batched: bool | None = None,
    ) -> None:
        network, card = load_weights(weights)
        self.batched = device.type != "cpu" if batched is None else batched
        self.device = device
        self.network = channels_last(network, device)
        self.tile_px = tile_px or _affordable_bytes(device) // network.bytes_per_px
        self.provenance = Provenance(
            tracker="cade",
            parameters={
                "architecture": card.architecture,
                "halo_px": network.REACH_PX,
                "range_px": RANGE_PX,
            },
            weights=card.name,
            weights_sha256=card.sha256,
            has_sigma=network.CLAIMS_SIGMA,
        )

    def _frames_at_once(self, shape: tuple[int, int]) -> int:
        return max(1, self.tile_px // (shape[0] * shape[1])) if self.batched else 1

    def _estimate(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        pair = normalise(reference, sample, weight)
        weight = weight * (pair.contrast > LEAST_CONTRAST)
        start = coarse_displacement(pair.reference, pair.sample, weight)
        fields = [pair.reference[:, None], pair.sample[:, None]]
        if start is not None:
            settled = settled_sample(pair.reference, pair.sample, weight, start)
            fields = [pair.reference[:, None], settled[:, None], start]
        height, width = sample.shape[-2:]
        multiple = self.network.MULTIPLE
        pad = (0, -width % multiple, 0, -height % multiple)
        out = self._refined(functional.pad(torch.cat(fields, dim=1), pad, mode="replicate"))
        out = out[..., :height, :width]
        sigma = torch.exp(out[:, 2:]) if out.shape[1] == 4 else None
        return Displacement(
            ux_px=out[:, 0],
            uy_px=out[:, 1],
            valid=pair.contrast > LEAST_CONTRAST,
            sigma_x_px=None if sigma is None else sigma[:, 0],
            sigma_y_px=None if sigma is None else sigma[:, 1],
        )

    def _refined(self, images: torch.Tensor) -> torch.Tensor:
        """Network output `(N, 2 or 4, H, W)` of reference, sample and, where found, the start.

        Frames that begin at zero go without: for them nothing must change.
        """
        if images.shape[1] > 2:
            moving = images[:, 2:].abs().amax(dim=(1, 2, 3)) > 0
            if not bool(moving.all()):
                out = images.new_empty((len(images), self._output_fields, *images.shape[-2:]))
                out[moving] = self._refined(images[moving])
                out[~moving] = self._refined(images[~moving, :2])
                return out
        if images.shape[0] * images.shape[-2] * images.shape[-1] <= self.tile_px:
            return self._infer(images)
        return torch.cat([self._tiled(image[None]) for image in images])

    def _tiled(self, image: torch.Tensor) -> torch.Tensor:
        """The same of one pair `(1, 2 or 4, H, W)`."""
        shape = (int(image.shape[-2]), int(image.shape[-1]))
        halo, multiple = self.network.REACH_PX, self.network.MULTIPLE
        if image.shape[1] > 2:
            halo += RANGE_PX  # a tile's reference is read that far away
        parts = list(tiles(shape, self.tile_px, halo, multiple))
        if len(parts) == 1:
            return self._infer(image)
        out = image.new_empty((1, self._output_fields, *shape))
        for tile in parts:
            out[..., *tile.keep] = self._infer(image[..., *tile.read])[..., *tile.inner]
        return out

    def _infer(self, images: torch.Tensor) -> torch.Tensor:
        start = images[:, 2:] if images.shape[1] > 2 else None
        estimate = self.network(images[:, :1], images[:, 1:2], start)[-1]
        fields = [estimate.u_px]
        if estimate.log_sigma is not None:
            fields.append(estimate.log_sigma)
        return torch.cat(fields, dim=1)

    @property
    def _output_fields(self) -> int:
        return 4 if self.network.CLAIMS_SIGMA else 2


def _affordable_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * GPU_SHARE)
    return CPU_BYTES
