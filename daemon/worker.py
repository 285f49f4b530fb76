"""A named thread whose failure is never only logged: it reaches the supervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable

from daemon.channel import Broken


class Worker:
    """Runs a function in a thread; what it raises is handed to `failed`."""

    def __init__(
        self,
        name: str,
        function: Callable[[], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.name = name
        self._function, self._failed = function, failed
        # A thread that hangs in a driver or a file system must not keep a failed process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; False where it has not come in time."""
        self._thread.join(timeout_s)
        return not self.is_alive()

    def _run(self) -> None:
        try:
            self._function()
        except Broken:
            pass  # another worker has failed, and that one is reported
        except BaseException as error:  # noqa: BLE001 - the supervisor ends the process with it
            self._failed(self.name, error)
