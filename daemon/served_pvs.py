"""The daemon's own PVs as a part of the service, where the settings ask for them."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from daemon.accounting import Account
from daemon.intake_control import IntakeControl
from daemon.last_error import LastError
from daemon.pairing import Pairing
from daemon.pv_server.commands import Commands
from daemon.pv_server.server import PvServer
from daemon.recording.recorder import Recorder
from daemon.recording.scan_header import TrackerProvenance
from daemon.settings import Settings
from daemon.state import State
from daemon.status import Results, StatusReader
from daemon.worker import Worker

_JOIN_S = 5.0


class ServedPvs:
    """Serves the PVs in a thread, from before the tracker is loaded until everything has ended.

    Args:
        settings: which PVs, if any.
        account: the frames and series.
        control: what commands act upon.
        phase: what the supervisor is about.
        failed: told what went wrong where this very part fails.

    Raises:
        UsageError: PVs are asked for, and softioc is not installed.
    """

    def __init__(
        self,
        settings: Settings,
        account: Account,
        control: IntakeControl,
        phase: Callable[[], State],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._pairing: Pairing | None = None
        self._recorder: Recorder | None = None
        self._last_error = LastError()
        options = settings.epics_server
        self._status = StatusReader(
            account,
            control,
            options.lagging_s,
            phase,
            results=self._results,
            remark=lambda: self._last_error.remark,
        )
        commands = Commands(
            control,
            account.series,
            allowed=options.commands,
            drives="[epics]" if settings.epics.pvs else "",
            stopping=lambda: phase() in (State.STOPPING, State.FAULT),
        )
        self._server = PvServer(options, self._status, commands) if options.prefix else None
        self._worker = Worker("PV server", self._server.run, failed) if self._server else None

    def know(self, pairing: Pairing, recorder: Recorder, tracker: TrackerProvenance) -> None:
        """Set the parts that know more, once they are there."""
        self._pairing, self._recorder = pairing, recorder
        words = (tracker.name, tracker.weights_name, (tracker.weights_sha256 or "")[:12])
        self._status.tracker = " ".join(word for word in words if word)

    def __enter__(self) -> Self:
        self._last_error.__enter__()
        if self._worker is not None:
            self._worker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None and self._worker is not None:
            self._server.request_stop()
            self._worker.join(_JOIN_S)
        self._last_error.__exit__(kind, error, trace)

    def _results(self) -> Results:
        last_file = self._recorder.last_file if self._recorder else ""
        reference = self._pairing.last_reference if self._pairing else None
        return Results(last_file, *(reference or ("", None)))
