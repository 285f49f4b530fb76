"""What process variables of a control system said about a series and its frames."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a process variable.

    `value` is a number in `units`, or a text; None where there is none that can be trusted: then
    `problem` says why, and `timestamp_s` (Unix time, by the clock of the control system) and
    `age_s` are those of the last value that came, if one did. `alarm` is the severity that the
    control system gives it, empty for none.
    """

    name: str
    pv: str
    value: float | str | None
    is_text: bool = False
    units: str = ""
    timestamp_s: float | None = None
    age_s: float | None = None
    connected: bool = False
    alarm: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known of a series beside its images.

    `readings` were taken when it began. `columns` are those of them that are taken again for every
    frame, in the order of `Frame.readings`. `sample_name` and `proposal` are empty where nobody
    stated them.
    """

    sample_name: str = ""
    proposal: str = ""
    readings: tuple[Reading, ...] = ()
    columns: tuple[Reading, ...] = ()
