"""The process of the IOC, as the daemon sees it."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

import structlog

from daemon.pv_server.lines import LineReader, Message, encode
from daemon.settings import EpicsServerSettings

_ROOT = Path(__file__).parents[2]
_CHUNK_BYTES = 1 << 16
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - only where the settings say so


def child_environment(
    settings: EpicsServerSettings, environment: Mapping[str, str]
) -> dict[str, str]:
    """What Channel Access reads; on loopback no packet leaves this computer."""
    python_path = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    child = {**environment, "PYTHONPATH": os.pathsep.join(python_path)}
    child.pop("NOTIFY_SOCKET", None)
    child["EPICS_CAS_INTF_ADDR_LIST"] = settings.interface
    if settings.interface == _EVERYWHERE:
        child.pop("EPICS_CAS_INTF_ADDR_LIST")
    elif IPv4Address(settings.interface).is_loopback:
        child["EPICS_CAS_BEACON_ADDR_LIST"] = settings.interface
        child["EPICS_CAS_AUTO_BEACON_ADDR_LIST"] = "NO"
    if settings.port is not None:
        child["EPICS_CAS_SERVER_PORT"] = str(settings.port)
    return child


class Child:
    """One run of the IOC. It ends by itself when the daemon does: its socket closes.

    No call waits for it longer than `receive` and `close` are told to.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, settings: EpicsServerSettings) -> None:
        words = [settings.prefix, "commands" if settings.commands else "status"]
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-P", "-m", "daemon.pv_server", *words],
                env=child_environment(settings, os.environ),
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the daemon, which ends it in its time
            )
        except OSError:
            self._socket.close()
            os.close(self._output)
            raise
        finally:
            theirs.close()
            os.close(output)
        self.pid = self._process.pid
        self._reader = LineReader()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._output, selectors.EVENT_READ)
        self._log = structlog.get_logger(__name__)
        self.ended = ""
        """Why nothing more will come; empty while it runs."""
        self._last_words = ""

    def send(self, message: Message) -> None:
        """Hand a message over; a child that does not take it has ended for us."""
        try:
            if self._socket.send(line := encode(message)) != len(line):
                raise BlockingIOError  # half a line is as bad as none
        except BlockingIOError:
            self._end("it does not read")
        except OSError as error:
            self._end(str(error.strerror))

    def receive(self, timeout_s: float) -> list[Message]:
        """What it has said, as soon as there is something."""
        messages: list[Message] = []
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._socket:
                messages += self._read_messages()
            else:
                self._read_output()
        return messages

    def close(self, patience_s: float = 0.0) -> None:
        """End it: at once, or when it has had so much time to do so itself."""
        self._selector.unregister(self._socket)
        self._socket.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._read_output()
        self._selector.close()
        os.close(self._output)

    @property
    def last_words(self) -> str:
        """Its last line of output, and how it ended; to be asked after `close`."""
        code = self._process.returncode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        return ", ".join(filter(None, [self.ended, how, self._last_words]))

    def _read_messages(self) -> list[Message]:
        try:
            received = self._socket.recv(_CHUNK_BYTES)
            if not received:
                self._end("it has gone")
            return self._reader.feed(received)
        except BlockingIOError:
            return []
        except OSError as error:
            self._end(str(error.strerror))
        except ValueError as error:
            self._end(f"it sent nonsense: {error}")
        return []

    def _read_output(self) -> None:
        try:
            output = os.read(self._output, _CHUNK_BYTES)
        except OSError:  # there is none
            return
        if not output and self._output in self._selector.get_map():
            self._selector.unregister(self._output)  # closed; else it is reported for ever
        for line in output.decode("utf-8", "replace").splitlines():
            if line.strip():
                self._last_words = line.strip()[:200]
                self._log.debug("PV server says", text=self._last_words)

    def _end(self, why: str) -> None:
        self.ended = self.ended or why
