"""The daemon's side of its PVs: a thread that feeds the IOC, and starts it again when it ends."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable

import structlog

from cade.errors import UsageError
from daemon.pv_server.child import Child
from daemon.pv_server.commands import Commands, Pending
from daemon.pv_server.lines import Message
from daemon.pv_server.values import pv_values
from daemon.settings import EpicsServerSettings
from daemon.status import StatusReader

STATUS_S = 0.2
START_S = 60.0
"""Longest time that the IOC may take to start."""
HUNG_S = 10.0
"""An IOC that has not taken a status for so long is ended."""
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0
_TICK_S = 0.1
_FAREWELL_S = 2.0


class PvServer:
    """Serves the daemon's PVs; used by one thread, but for `request_stop`.

    The IOC is a process of its own. Frames never wait for it: one status at a time is on its way
    there, always the newest. Where it ends, or hangs, another is started, after 1, 2, 4 … 60 s.

    Raises:
        UsageError: softioc is not installed.
    """

    def __init__(
        self, settings: EpicsServerSettings, status: StatusReader, commands: Commands
    ) -> None:
        # Only looked for: in this process softioc would take pyepics' library away.
        if importlib.util.find_spec("softioc") is None:
            raise UsageError(
                "epics_server.prefix: serving PVs needs softioc; install CADE with the extra "
                "'epics-server', or leave the prefix empty"
            )
        self._settings, self._status, self._commands = settings, status, commands
        self._stop = threading.Event()
        self._delay_s = FIRST_DELAY_S
        self._heartbeat = 0
        self._log = structlog.get_logger(__name__)

    def request_stop(self) -> None:
        """Tell the last status, and end; safe in every thread."""
        self._stop.set()

    def run(self) -> None:
        """Serve until asked to stop."""
        while not self._stop.is_set():
            began_s = time.monotonic()
            problem = self._serve()
            if problem:
                if time.monotonic() - began_s > LONGEST_DELAY_S:
                    self._delay_s = FIRST_DELAY_S
                self._log.warning(
                    f"the PV server has ended, its PVs are gone; next try in {self._delay_s:g} s",
                    problem=problem,
                )
                self._stop.wait(self._delay_s)
                self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)

    def _serve(self) -> str:
        """One run of the IOC; why it has ended, empty where that was asked for."""
        try:
            child = Child(self._settings)
        except OSError as error:
            return f"it cannot be started ({error.strerror})"
        visit = _Visit(child, self._status_message, self._commands)
        try:
            problem = visit.run(self._stop, self._log_ready)
        finally:
            visit.close(_FAREWELL_S if self._stop.is_set() else 0.0)
        return f"{problem}; {child.last_words}" if problem else ""

    def _log_ready(self, pid: int) -> None:
        self._log.info("PVs served", prefix=self._settings.prefix, process=pid)

    def _status_message(self) -> Message:
        self._heartbeat += 1
        status = self._status.read()
        return {
            "status": pv_values(status, self._heartbeat),
            "fault": status.remark.is_error,
            "number": self._heartbeat,
        }


class _Visit:
    """One run of the IOC, from its start to its end."""

    def __init__(
        self, child: Child, status_message: Callable[[], Message], commands: Commands
    ) -> None:
        self._child, self._status_message, self._commands = child, status_message, commands
        self._ready = False
        self._problem = ""
        self._pending: dict[object, tuple[str, Pending]] = {}
        self._unseen: object = None
        self._due_s = time.monotonic() + START_S  # when an answer is due

    def run(self, stop: threading.Event, ready: Callable[[int], None]) -> str:
        """Feed it until it ends, which is returned, or the daemon does; then empty."""
        next_s = 0.0
        while not stop.is_set():
            was_ready = self._ready
            self._take(_TICK_S)
            if self._ready and not was_ready:
                ready(self._child.pid)
            now_s = time.monotonic()
            if (self._unseen is not None or not self._ready) and now_s > self._due_s:
                self._problem = self._problem or "it hangs"
            if self._problem or self._child.ended:
                return self._problem or self._child.ended
            if self._ready and self._unseen is None and now_s >= next_s:
                self._send_status()
                next_s = now_s + STATUS_S
        return ""

    def close(self, patience_s: float) -> None:
        """Say the last word where the daemon ends, and let go."""
        if patience_s and self._ready:
            self._take(0.0)
            self._send_status()
        self._child.close(patience_s)

    def _send_status(self) -> None:
        message = self._status_message()
        self._unseen, self._due_s = message["number"], time.monotonic() + HUNG_S
        self._child.send(message)

    def _take(self, timeout_s: float) -> None:
        for message in self._child.receive(timeout_s):
            if "ready" in message:
                self._ready = True
            elif "failed" in message:
                self._problem = str(message["failed"])
            elif "seen" in message:
                self._unseen = None
            elif "command" in message and not _is_late(message):
                name, value = message["command"], message.get("value")
                pending = self._commands.ask(name, value)
                self._pending[message.get("id")] = f"{name} {value}", pending
        self._answer()

    def _answer(self) -> None:
        for number, (what, pending) in list(self._pending.items()):
            answer = pending()
            if answer is not None:
                del self._pending[number]
                outcome = "accepted" if answer.accepted else "refused"
                text = f"{what}: {outcome}: {answer.text}"
                self._child.send({"answer": number, "accepted": answer.accepted, "text": text})


def _is_late(message: Message) -> bool:
    """Whether the client has been told that nobody answers: then nothing may happen any more."""
    expires_s = message.get("expires_s")
    return isinstance(expires_s, float) and time.monotonic() > expires_s
