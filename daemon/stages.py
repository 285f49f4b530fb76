"""The three stages behind the sources, each one loop in one thread.

    sources ─▶ [events] ─▶ pairing ─▶ [batches] ─▶ tracking ─▶ [rows] ─▶ recording

A full queue makes the stage before it wait, back to the detector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cade.errors import CadeError
from cade.frames import Event, Reason, Rejected
from daemon.accounting import Account
from daemon.batches import PairBatch, ToTracker, ToWriter
from daemon.channel import Channel
from daemon.pairing import Pairing
from daemon.processor import Processor
from daemon.recording.recorder import Recorder

Events = Channel[Event]


def pair_events(events: Events, batches: Channel[ToTracker], pairing: Pairing) -> None:
    """Events to batches, until the events end; then every series is ended."""
    while not events.exhausted:
        event = events.get(pairing.due_in_s())
        _put_all(batches, pairing.take(event) if event is not None else pairing.flush())
    _put_all(batches, pairing.finish())
    batches.close()


def track_batches(
    batches: Channel[ToTracker], rows: Channel[ToWriter], processor: Processor, account: Account
) -> None:
    """Batches to rows; what is no batch passes through, in order."""
    for message in batches:
        if isinstance(message, PairBatch):
            _put_all(rows, _processed(message, processor, account))
        else:
            rows.put(message)
    rows.close()


def record_rows(rows: Channel[ToWriter], recorder: Recorder) -> None:
    """Rows to files; whatever happens, those that are open are closed at the end."""
    try:
        for message in rows:
            recorder.take(message)
    finally:
        recorder.close()


def _processed(batch: PairBatch, processor: Processor, account: Account) -> Iterator[ToWriter]:
    """The batch's rows; a batch that the tracker refuses is rejected frame by frame."""
    try:
        yield processor.process(batch)
    except CadeError as error:
        for frame in batch.samples:
            account.reject(Reason.PROCESSING)
            yield Rejected(
                frame.series_id, frame.image_id, Reason.PROCESSING, str(error), frame.origin
            )


def _put_all(channel: Channel[ToTracker] | Channel[ToWriter], messages: Iterable[object]) -> None:
    for message in messages:
        channel.put(message)  # type: ignore[arg-type]
