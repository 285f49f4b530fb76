"""The thread that owns a stream's sockets, and takes what comes while its source is busy."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from cade.wire import WireError
from daemon.settings import StreamSettings
from daemon.sources.connection import Connection
from daemon.sources.stream_queue import Item, MessageQueue
from daemon.sources.stream_socket import Context

_POLL_S = 0.1


class Receiver:
    """Receives until `stop` is set, and then what had arrived; a context manager that ends it.

    While `max_bytes` wait here, the rest waits in ZeroMQ and at the sender.

    Raises:
        CadeError: an endpoint cannot be bound or connected to, or a key cannot be read.
    """

    def __init__(
        self, settings: StreamSettings, context: Context, stop: threading.Event, max_bytes: int
    ) -> None:
        self._settings, self._context, self._stop = settings, context, stop
        self._queue = MessageQueue(max_bytes)
        self._failure: BaseException | None = None
        self._open = threading.Event()
        # As the source's own thread: one that hangs must not keep a failed process alive.
        self._thread = threading.Thread(
            target=self._run, name=f"receive {settings.endpoint}", daemon=True
        )
        self._thread.start()
        self._open.wait()
        self._complain()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.close()
        self._thread.join()

    @property
    def exhausted(self) -> bool:
        """Whether all was taken, and nothing more comes."""
        return self._queue.exhausted

    def get(self, timeout_s: float) -> Item | None:
        """The next message, or what broke the connection; None if nothing comes in this time.

        Raises:
            BaseException: what ended the thread.
        """
        item = self._queue.get(timeout_s)
        if item is None:
            self._complain()
        return item

    def _complain(self) -> None:
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def _run(self) -> None:
        try:
            connection = Connection(self._settings, self._context)
            try:
                self._open.set()
                self._receive(connection)
            finally:
                connection.close()
        except BaseException as error:  # noqa: BLE001 - `get` raises it in the source's thread
            self._failure = error
        finally:
            self._queue.close()
            self._open.set()

    def _receive(self, connection: Connection) -> None:
        while not self._stop.is_set() and not self._queue.closed:
            has_come = self._queue.wait_for_room(_POLL_S) and self._take(connection, _POLL_S)
            if not has_come or connection.look_due:
                refusal = connection.restore()
                if refusal is not None:
                    self._queue.put(WireError(refusal))
        for _ in range(connection.capacity):  # bounded: the detector may go on sending
            if self._queue.closed or not self._take(connection, 0.0):
                return

    def _take(self, connection: Connection, timeout_s: float) -> bool:
        connection.request()
        parts = connection.receive(timeout_s)
        if parts is not None:
            self._queue.put(parts)
        return parts is not None
