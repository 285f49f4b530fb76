"""The table of a detector's images over pvAccess."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from daemon.settings.section import Positive, Section


class PvaSettings(Section):
    """An areaDetector's NTNDArray over pvAccess; EPICS_PVA_ADDR_LIST and its like are obeyed.

    Nothing in it says where a series begins: one does where uniqueId goes back, after a silence,
    where another part of the sensor is read or the exposure changes, and where the role changes
    from reference, flat or dark; or by PV, see [epics].
    """

    kind: Literal["pva"] = "pva"
    pv: str = Field(
        description="the array of the Pva plugin, for example 13SIM1:Pva1:Image",
        pattern=r"^[!-~]+$",
        max_length=200,
    )
    detector: str = Field(
        "", description="the detector's name: the references of one never serve another"
    )
    role_key: str = Field("role", description="attribute that has the role: its name, or 0 … 3")
    exposure_key: str = Field("AcquireTime", description="attribute that has the exposure [s]")
    silence_s: Positive = Field(
        10.0, description="a series ends when connected and no image comes for this long"
    )
    existing: Literal["take", "ignore"] = Field(
        "ignore", description="the image that the PV has from before the daemon started"
    )
    connect_s: Positive = Field(10.0, description="a PV silent this long at start is reported")
    queue_bytes: int = Field(
        512 << 20,
        gt=0,
        description="memory for images that wait before the daemon takes them: three quarters as "
        "they come, one for putting them in order; more of them are lost",
    )
    queue_frames: int = Field(
        16, ge=2, description="images that pvAccess may hold beside those, here and in the IOC each"
    )
    reorder_frames: int = Field(
        16,
        ge=0,
        description="so many images may wait for one with a smaller number; 0 = none waits",
    )
    reorder_s: Positive = Field(
        0.5, description="they wait no longer than this while nothing else comes"
    )
    max_image_bytes: int = Field(1 << 30, gt=0, description="larger images are refused")
