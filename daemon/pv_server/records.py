"""The table of the PVs: what the IOC serves, and what docs/pvs.md lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cade.frames import Reason
from daemon.state import State

Kind = Literal["count", "real", "text", "choice", "button", "number"]
Severity = Literal["NO_ALARM", "MINOR", "MAJOR", "INVALID"]

TEXT_BYTES = 1024
"""Longest text of a PV, with the zero that ends it."""
RECORD_TYPES: dict[Kind, str] = {
    "count": "int64in",
    "real": "ai",
    "text": "waveform of CHAR",
    "choice": "mbbi",
    "button": "bo",
    "number": "longout",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One PV, without the prefix.

    `description` becomes its DESC, of 40 characters at most; `detail` is for the documentation
    alone. `states` are those of a choice with the severity that each has. Clients may write
    buttons and numbers; `always` where `epics_server.commands` does not matter.
    """

    name: str
    kind: Kind
    description: str
    unit: str = ""
    detail: str = ""
    states: tuple[tuple[str, Severity], ...] = ()
    always: bool = False

    @property
    def is_command(self) -> bool:
        """Whether clients may write it."""
        return self.kind in ("button", "number")


SEVERITIES: dict[State, Severity] = {
    State.LAGGING: "MINOR",
    State.PAUSED: "MINOR",
    State.FAULT: "MAJOR",
    State.SILENT: "INVALID",
}


def _count(name: str, description: str, detail: str = "") -> Record:
    return Record(name, "count", description, "frames", detail)


def rejected_name(reason: Reason) -> str:
    """The PV that counts the frames rejected for a reason."""
    return "Rejected:" + "".join(part.capitalize() for part in reason.split("_"))


STATUS = (
    Record(
        "State",
        "choice",
        "What the daemon does",
        detail="lagging: a frame has been on its way for longer than `epics_server.lagging_s`; "
        "stopping: asked to end, finishes what waits; fault: something has failed, it ends; "
        "silent: it has said nothing for 5 s, all values are old and INVALID",
        states=tuple((str(state), SEVERITIES.get(state, "NO_ALARM")) for state in State),
    ),
    Record("Heartbeat", "count", "Counts up five times a second", detail="still = daemon hangs"),
    _count("Frames:Received", "Came, good or bad", "= Written + Kept + Rejected + Waiting"),
    _count("Frames:Written", "Rows in result files"),
    _count("Frames:Kept", "Used as reference, flat or dark"),
    _count("Frames:Rejected", "Not processed; see Rejected:..."),
    _count("Frames:Missing", "Images of ended series that never came"),
    _count("Frames:Doubted", "Reference old or drifted, yet processed"),
    _count("Frames:Waiting", "On their way, or waiting for a reference"),
    _count("Frames:Held", "Part of Waiting: wait for a reference"),
    Record("Rate:In", "real", "Frames received, mean of five seconds", "Hz"),
    Record("Rate:Out", "real", "Frames done, mean of five seconds", "Hz"),
    _count("Lag:Frames", "On their way, without Held"),
    Record("Lag:Time", "real", "Age of the oldest frame on its way", "s"),
    Record("Series:Open", "count", "Series that are not completely written"),
    Record("Series:Written", "count", "Series completely written since start"),
    Record("LastFile", "text", "Result file opened last"),
    Record(
        "LastError",
        "text",
        "Last warning or error of the log",
        detail="MAJOR after an error, which ends the daemon; warnings have no alarm",
    ),
    Record("Reference:Id", "text", "Reference that served last"),
    Record("Reference:Age", "real", "Time since that reference", "s", detail="0 before the first"),
    _count("Reference:Left", "Next frames that become references", "by TakeReference"),
    Record("Weights", "text", "Tracker, its weights, and their sha256"),
    Record("Version", "text", "Version of CADE"),
    *(_count(rejected_name(reason), f"Rejected: {reason}") for reason in Reason),
)
ANSWERS = (
    Record(
        "CommandResult",
        "choice",
        "What became of the last command",
        states=(("refused", "MINOR"), ("accepted", "NO_ALARM")),
    ),
    Record("CommandStatus", "text", "The same in words"),
)
COMMANDS = (
    Record(
        "WaitSeries",
        "button",
        "Completes when the series is written",
        detail="put 1 with completion: comes back when every series that was open is written and "
        "its file closed, at once if none is",
        always=True,
    ),
    Record(
        "TakeReference",
        "number",
        "So many next frames are references",
        "frames",
        detail="1 to 100000, 0 takes it back; frames received from now on, flats and darks aside",
    ),
    Record(
        "Pause",
        "button",
        "Take no new frames in",
        detail="nothing is thrown away: queues fill, files wait; refused where "
        "PVs of `[epics]` drive",
    ),
    Record("Resume", "button", "Go on after a pause"),
    Record(
        "EndSeries",
        "button",
        "End open series as if their end had come",
        detail="during a pause, after Resume",
    ),
)
RECORDS = STATUS + ANSWERS + COMMANDS
