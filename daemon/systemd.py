"""What the service tells systemd: the notification protocol of sd_notify(3).

Outside systemd (no NOTIFY_SOCKET) every call does nothing.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping

from cade.errors import CadeError


class Notifier:
    """Datagrams to the service manager that started this process."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._watchdog_us = _microseconds(environment)

    @property
    def watchdog_interval_s(self) -> float | None:
        """Time between two `watchdog()` calls, half of what systemd allows; None = not asked."""
        return self._watchdog_us / 2e6 if self._watchdog_us else None

    def ready(self, status: str = "") -> None:
        """The service is up: sources are open and the tracker is warm."""
        self._send("READY=1", *_status(status))

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(*_status(status))

    def watchdog(self) -> None:
        """Progress was made. Only the loop that proves it may call this."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> None:
        """Shutdown has begun."""
        self._send("STOPPING=1", *_status(status))

    def extend_timeout(self, seconds: float) -> None:
        """Starting or stopping needs this much more time, counted from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={math.ceil(seconds * 1e6)}")

    def _send(self, *assignments: str) -> None:
        if not self._address or not assignments:
            return
        # A leading @ stands for the zero byte of Linux' abstract addresses.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto("\n".join(assignments).encode(), address)
            except OSError as error:
                raise CadeError(
                    f"NOTIFY_SOCKET={self._address}: systemd cannot be told ({error.strerror}); "
                    "start the service with systemctl, or unset NOTIFY_SOCKET"
                ) from None


def _status(text: str) -> list[str]:
    return [f"STATUS={' '.join(text.split())}"] if text else []


def _microseconds(environment: Mapping[str, str]) -> int:
    """WATCHDOG_USEC where it is meant for this process, else 0."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    text = environment.get("WATCHDOG_USEC", "0")
    return int(text) if text.isdecimal() else 0
