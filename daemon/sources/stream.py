"""A detector's ZeroMQ stream as a source of events."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Generator, Iterator

import zmq

from cade.frames import Event, Frame, SeriesStart
from cade.wire import Buffer, Message, WireError, decoder
from daemon.settings import StreamSettings
from daemon.sources.series_gate import SeriesGate
from daemon.sources.stream_early import EarlyImages
from daemon.sources.stream_keys import stream_keys
from daemon.sources.stream_queue import Item
from daemon.sources.stream_receiver import Receiver
from daemon.sources.stream_window import ReorderWindow

_POLL_S = 0.1
_WINDOW_SHARE = 4
"""Of `queue_bytes` this part is for putting images in order; the rest is the queue's."""


class StreamSource:
    """Receives and decodes one stream.

    Args:
        settings: which stream.
        context: the ZeroMQ context; it must outlive `events`.

    Raises:
        CadeError: a key that the settings name cannot be used.
        UsageError: the format needs what is not installed.
    """

    def __init__(self, settings: StreamSettings, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        origin = ", ".join(settings.endpoints)
        self.name = f"stream {origin}"
        self._settings = settings
        self._context = context
        self._end_asked = threading.Event()
        self._several = len(settings.endpoints) > 1
        stream_keys(settings)  # what is wrong with them is said before the first frame
        held_bytes = settings.queue_bytes // _WINDOW_SHARE
        self._queue_bytes = settings.queue_bytes - held_bytes
        window = ReorderWindow(settings.reorder_frames, held_bytes)
        self._gate = SeriesGate(origin, window, len(settings.endpoints))
        self._early = EarlyImages(settings.reorder_frames, held_bytes)
        self._decoder = decoder(
            settings.format,
            role_key=settings.role_key,
            channel=settings.channel,
            calibration=settings.detector_calibration,
            max_bytes=settings.max_message_bytes,
            origin=origin,
        )

    def end_series(self) -> None:
        """Ask for the end of the open series; the next image without a start begins another."""
        self._end_asked.set()

    def events(self, stop: threading.Event) -> Generator[Event]:
        """Events until `stop` is set and what had arrived by then is handed on.

        A series that is open at the end is left open. Whatever cannot be decoded comes as
        `Rejected`.

        Raises:
            CadeError: the endpoint cannot be bound or connected to.
        """
        with Receiver(self._settings, self._context, stop, self._queue_bytes) as receiver:
            last_s = time.monotonic()
            while not receiver.exhausted:
                if self._end_asked.is_set():
                    yield from self._end_series("was ended on demand")
                item = receiver.get(_POLL_S)
                if item is None:
                    yield from self._wait(time.monotonic() - last_s)
                    continue
                yield from self._take(item)
                last_s = time.monotonic()
        yield from self._settle()

    def _wait(self, silent_s: float) -> Iterator[Event]:
        """Nothing has come: is it time to give up what is waited for?"""
        waited_s = max(self._gate.waiting_s, self._early.waiting_s)
        if max(waited_s, silent_s if self._gate.ending else 0.0) >= self._settings.reorder_s:
            yield from self._settle()
        end_silence_s = self._settings.end_silence_s
        if end_silence_s is not None and silent_s > end_silence_s:
            yield from self._end_series("was ended by silence")

    def _end_series(self, fate: str) -> Iterator[Event]:
        self._end_asked.clear()
        self._decoder.forget()
        yield from self._gate.close(fate)

    def _settle(self) -> Iterator[Event]:
        for parts in self._early.take():
            yield from self._take(parts, hold=False)
        yield from self._gate.settle()

    def _take(self, item: Item, *, hold: bool = True) -> Iterator[Event]:
        """The events of a message; `hold` says whether it may wait for its start message."""
        try:
            if isinstance(item, WireError):
                raise item
            messages = self._decoder.decode(item)
        except WireError as error:
            yield from self._gate.malformed(error)
            return
        for message in messages:
            if isinstance(message, Frame) and hold and self._is_held(message, item):
                continue
            yield from self._gate.take(self._named(message))
            if isinstance(message, SeriesStart):
                for early in self._early.take():
                    yield from self._take(early)

    def _is_held(self, frame: Frame, parts: list[Buffer]) -> bool:
        """Whether its message waits for the start message, which may come by another endpoint."""
        if not self._several or self._gate.knows(frame.series_id):
            return False
        return self._early.hold(parts)

    def _named(self, message: Message) -> Message:
        """A start message with the detector's name from the settings, where it states none."""
        if not isinstance(message, SeriesStart) or message.beamline.detector is not None:
            return message
        beamline = dataclasses.replace(message.beamline, detector=self._settings.detector or None)
        return dataclasses.replace(message, beamline=beamline)
