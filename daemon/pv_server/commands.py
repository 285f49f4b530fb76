"""What clients of the PVs may ask for: each wish is checked, and answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from daemon.intake_control import IntakeControl
from daemon.series_ledger import SeriesLedger

MOST_REFERENCES = 100_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command."""

    accepted: bool
    text: str


Pending = Callable[[], Answer | None]
"""The answer, None while there is none yet."""


class Commands:
    """Carries out commands. Channel Access knows no passwords: nothing is trusted.

    Args:
        control: of the way in.
        series: tells when they are written.
        allowed: whether clients may do more than wait.
        drives: a setting that names PVs which drive the daemon; empty where none does.
        stopping: whether the daemon is about to end.
    """

    def __init__(
        self,
        control: IntakeControl,
        series: SeriesLedger,
        *,
        allowed: bool,
        drives: str = "",
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._control, self._series = control, series
        self._allowed, self._drives, self._stopping = allowed, drives, stopping
        self._log = structlog.get_logger(__name__)

    def ask(self, name: object, value: object) -> Pending:
        """Do what is asked, and say how it can be known what became of it."""
        if isinstance(value, bool) or not isinstance(value, int):
            return _answer(accepted=False, text=f"{_short(value)} is no number")
        if name == "WaitSeries":
            return self._wait(value)
        if name == "TakeReference":
            return self._do("TakeReference", value, range(MOST_REFERENCES + 1), self._take)
        actions = {"Pause": self._pause, "Resume": self._resume, "EndSeries": self._end}
        if not isinstance(name, str) or name not in actions:
            return _answer(accepted=False, text=f"{_short(name)} is no command")
        return self._do(name, value, range(1, 2), actions[name])

    def _do(self, name: str, value: int, values: range, action: Callable[[int], Answer]) -> Pending:
        if not self._allowed:
            answer = Answer(accepted=False, text="epics_server.commands is off")
        elif value not in values:
            most = f" to {values[-1]}" if len(values) > 1 else ""
            answer = Answer(accepted=False, text=f"{value} is not {values[0]}{most}")
        elif self._stopping():
            answer = Answer(accepted=False, text="the daemon is about to end")
        else:
            answer = action(value)
        self._log.info(
            "PV command", command=name, value=value, accepted=answer.accepted, answer=answer.text
        )
        return lambda: answer

    def _wait(self, value: int) -> Pending:
        if value != 1:
            return _answer(accepted=False, text=f"{value} is not 1")
        if not self._series.open_count:
            return _answer(accepted=True, text="no series is open")
        mark = self._series.mark
        written = Answer(accepted=True, text="written")
        return lambda: written if self._series.is_written(mark) else None

    def _take(self, count: int) -> Answer:
        self._control.references.ask(count)
        return Answer(accepted=True, text=f"the next {count} frames are references")

    def _pause(self, _: int) -> Answer:
        if self._drives:
            return Answer(
                accepted=False,
                text=f"{self._drives} drives the daemon, and frames that are held up would meet "
                "other values of its PVs: pause the detector",
            )
        self._control.pause()
        return Answer(accepted=True, text="no new frame is taken in until Resume")

    def _resume(self, _: int) -> Answer:
        if not self._control.paused:
            return Answer(accepted=True, text="was not paused")
        self._control.resume()
        return Answer(accepted=True, text="goes on")

    def _end(self, _: int) -> Answer:
        if not self._series.open_count:
            return Answer(accepted=True, text="no series is open")
        self._control.end_series()
        after = " after Resume" if self._control.paused else ""
        return Answer(accepted=True, text=f"open series end{after}")


def _answer(*, accepted: bool, text: str) -> Pending:
    answer = Answer(accepted, text)
    return lambda: answer


def _short(value: object) -> str:
    return repr(value)[:40]
