"""The tables of what happens to a frame: checks, batches, the tracker."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from daemon.settings.section import Section


class TrackerSettings(Section):
    """What finds the displacement."""

    name: str = Field("cade", description="tracker: cade, zncc or umpa")
    weights: str = Field(
        "cade", description="name of weights, shipped or own, or a .safetensors file"
    )
    weights_folder: Path = Field(
        Path("weights"), description="folder of weights of your own, as cade retrain makes them"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 …")
    window: int = Field(15, ge=3, description="window of the conventional trackers [px], odd")
    threads: int | None = Field(None, gt=0, description="CPU threads; all cores if not given")

    @model_validator(mode="after")
    def _odd(self) -> TrackerSettings:
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, not {self.window}")
        return self


class BatchSettings(Section):
    """How frames are put together for the device."""

    size: int = Field(4, gt=0, description="frames in a batch")
    wait_s: float = Field(0.2, ge=0, description="an incomplete batch is processed after this long")
    queue_frames: int = Field(32, gt=0, description="frames that may wait before each stage")


class CheckSettings(Section):
    """When a frame is rejected."""

    max_invalid_fraction: float = Field(
        0.2, ge=0, le=1, description="invalid pixels allowed, of those not in detector.mask"
    )
    max_saturated_fraction: float = Field(0.05, ge=0, le=1, description="saturated pixels allowed")
