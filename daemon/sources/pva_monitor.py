"""A subscription to an NTNDArray, kept alive through whatever its server does."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from cade.errors import UsageError
from cade.wire.fields import Fields
from daemon.settings import PvaSettings

_RETRY_S = 1.0
"""After a server has refused or ended a subscription the next one is asked for this much later."""

_IMAGE_FIELDS = ("value", "uniqueId", "dimension", "dataTimeStamp")


@dataclass(frozen=True, slots=True)
class Update:
    """What a server has posted.

    `first` is what the PV had when the connection was made. `has_image` is false where only other
    fields have changed, such as the alarm.
    """

    fields: Fields
    type_id: str
    first: bool
    has_image: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is lost, or the server has refused the subscription, and why."""

    problem: str


class PvaMonitor:
    """A monitor of one PV and what it has delivered; make, use and close it in one thread.

    pvAccess delivers in a thread of its own into a queue of `queue_frames`. From there updates are
    moved here while there is room. Where there is none, that queue fills; then the newest update in
    it is replaced by the next one (it is "squashed"), and the images between are lost, which only
    their numbers tell.

    Args:
        settings: which PV.

    Raises:
        UsageError: the extra is not installed.
    """

    def __init__(self, settings: PvaSettings) -> None:
        check_installed()
        from p4p.client.raw import Context

        self._settings = settings
        self._changed = threading.Condition()
        self._updates: deque[tuple[Any, int]] = deque()
        self._held_bytes = 0
        self._most_bytes = settings.queue_bytes - settings.queue_bytes // 4
        self._first = True
        self._retry_s: float | None = None
        self._subscription: Any = None
        self._context = Context("pva", nt=False, useenv=True)  # it has no default for this
        self._subscribe()

    def _subscribe(self) -> None:
        request = f"field()record[queueSize={self._settings.queue_frames}]"
        with self._changed:  # the first call of _pump waits until the subscription is known
            self._first = True
            self._subscription = self._context.monitor(
                self._settings.pv, self._pump, request=request
            )

    def _pump(self) -> None:
        """Move updates here while there is room; called by pvAccess, and when there is room again.

        pvAccess calls again only after its queue was found empty.
        """
        with self._changed:
            while self._subscription is not None and self._held_bytes < self._most_bytes:
                update = self._subscription.pop()
                if update is None:
                    break
                size = _size_bytes(update)
                self._updates.append((update, size))
                self._held_bytes += size
            self._changed.notify()

    def __len__(self) -> int:
        """How many updates wait here."""
        return len(self._updates)

    def next(self, timeout_s: float) -> Update | Lost | None:
        """The next that has happened, None if nothing does."""
        if self._retry_s is not None and time.monotonic() >= self._retry_s:
            self._retry_s = None
            self._subscribe()
        with self._changed:
            self._changed.wait_for(lambda: self._updates, timeout_s)
            if not self._updates:
                return None
            update, size = self._updates.popleft()
            self._held_bytes -= size
        self._pump()
        return self._lost(update) if isinstance(update, Exception) else self._read(update)

    def _read(self, value: Any) -> Update:
        first, self._first = self._first, False
        changed = {name for name in _IMAGE_FIELDS if value.has(name) and value.changed(name)}
        fields = value.todict()
        if "value" not in changed and not first:
            fields["value"] = None  # a new number does not make the last pixels a new image
        return Update(fields, value.getID(), first, first or bool(changed))

    def _lost(self, error: Exception) -> Lost:
        from p4p.client.raw import Disconnected, Finished

        self._first = True
        if isinstance(error, Disconnected) and not isinstance(error, Finished):
            return Lost("disconnected")  # pvAccess connects again by itself
        self._unsubscribe()
        self._retry_s = time.monotonic() + _RETRY_S
        return Lost(str(error))

    def _unsubscribe(self) -> None:
        with self._changed:
            subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()  # waits for _pump: not with the lock

    def close(self) -> None:
        """End the subscription; what still waits is lost."""
        self._unsubscribe()
        self._context.close()


def check_installed() -> None:
    """Refuse to go on without p4p.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        import p4p.client.raw  # noqa: F401
    except ImportError:
        raise UsageError(
            "a source with kind = 'pva' needs p4p: pip install 'cade-daemon[pva]'"
        ) from None


def _size_bytes(update: Any) -> int:
    if isinstance(update, Exception):
        return 0
    return int(getattr(update.get("value"), "nbytes", 0))
