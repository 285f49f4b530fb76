"""The table of the daemon's own process variables."""

from __future__ import annotations

import ipaddress
import re

from pydantic import Field, field_validator

from daemon.settings.section import Positive, Section

_NAME = re.compile(r"[A-Za-z0-9_+-]+(:[A-Za-z0-9_+-]+)*")


class EpicsServerSettings(Section):
    """Process variables that the daemon serves by Channel Access; see docs/pvs.md."""

    prefix: str = Field(
        "", max_length=30, description="the PVs are called prefix:State …; empty serves none"
    )
    interface: str = Field(
        "127.0.0.1",
        description="IPv4 address of the interface that serves them; 0.0.0.0 is every one. Channel "
        "Access knows no passwords, so it is this computer alone unless something else is said",
    )
    port: int | None = Field(
        None,
        gt=5000,
        lt=65536,
        description="port; EPICS_CAS_SERVER_PORT, EPICS_CA_SERVER_PORT or 5064 if not given",
    )
    commands: bool = Field(
        False,
        description="whether clients may command: TakeReference, Pause, Resume, EndSeries; "
        "WaitSeries, which changes nothing, is always there",
    )
    lagging_s: Positive = Field(
        10.0, description="State is lagging when a frame has been on its way for longer"
    )

    @field_validator("prefix")
    @classmethod
    def _is_a_name(cls, prefix: str) -> str:
        if prefix and not _NAME.fullmatch(prefix):
            raise ValueError(
                f"{prefix!r} cannot begin the name of a PV; take letters, digits, _ + - and colons "
                "between them, none at the end"
            )
        return prefix

    @field_validator("interface")
    @classmethod
    def _is_an_address(cls, interface: str) -> str:
        try:
            ipaddress.IPv4Address(interface)
        except ValueError:
            raise ValueError(
                f"{interface!r} is no IPv4 address; give that of a network interface, or 0.0.0.0"
            ) from None
        return interface
