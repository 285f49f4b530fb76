"""The tables of process variables that are written to the result files."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from daemon.settings.epics_roles import PvName
from daemon.settings.section import Section

Use = Literal[
    "energy",
    "distance",
    "source_distance",
    "pixel_size",
    "exposure",
    "diffuser",
    "detector",
    "monitor",
    "sample_name",
    "proposal",
]
TEXT_USES: tuple[Use, ...] = ("detector", "sample_name", "proposal")


class MetadataSettings(Section):
    """A process variable that is written to the result files, and may mean something."""

    pv: PvName = Field(description="process variable with one number or one text")
    name: str = Field(
        "",
        pattern=r"^(\w[\w.-]*)?$",
        max_length=100,
        description="name in the file; if not given, what it is used as, or the PV's name",
    )
    use: Use | None = Field(
        None,
        description="what it is: a value of the geometry or the conditions, before what the "
        "detector states; the monitor that frames are normalised by; the sample or the proposal",
    )
    kind: Literal["number", "text"] | None = Field(
        None, description="number unless `use` is a text; enumerations are either"
    )
    units: str = Field(
        "", max_length=40, description="units of the number; if not given, those of the PV (EGU)"
    )
    when: Literal["series", "frame"] = Field(
        "series", description="read at the start of a series, or for every frame as well"
    )

    @model_validator(mode="after")
    def _consistent(self) -> MetadataSettings:
        if self.use is not None and self.kind is not None and self.is_text != self.is_text_use:
            wanted = "text" if self.is_text_use else "number"
            raise ValueError(f'use = "{self.use}" is a {wanted}: leave kind out')
        if self.is_text and self.units:
            raise ValueError(f"a text has no units: leave units = {self.units!r} out")
        return self

    @property
    def is_text_use(self) -> bool:
        """Whether what it is used as is a text."""
        return self.use in TEXT_USES

    @property
    def is_text(self) -> bool:
        """Whether it is written as text."""
        return self.kind == "text" if self.kind is not None else self.is_text_use

    @property
    def is_per_frame(self) -> bool:
        """Whether every frame has a value of its own; a monitor always has."""
        return self.when == "frame" or self.use == "monitor"

    @property
    def stored_name(self) -> str:
        """Its name in the file."""
        return self.name or self.use or re.sub(r"[^\w.-]", "_", self.pv).lstrip(".-") or "pv"
