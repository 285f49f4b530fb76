"""One session on a real decoder, and everything that must hold after each input."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cade.frames import Beamline, Frame, Role, SeriesEnd, SeriesStart
from cade.wire import Decoder, Message, WireError, fields
from tests.fuzz import raw
from tests.fuzz.session import Session
from tests.fuzz.target import MAX_BYTES, GoodSeries, Target

DTYPES = fields.DTYPES


class Fault(Exception):  # noqa: N818 it is a finding
    """What must never happen; `steps` is how many inputs of the session it took."""

    def __init__(self, detail: str, steps: int) -> None:
        super().__init__(detail)
        self.steps = steps


@dataclass(slots=True)
class Tally:
    """What the inputs were, and what came of them."""

    kinds: Counter[str] = field(default_factory=Counter)
    parsed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[Mapping[str, Any], raw.Message]] = field(default_factory=dict)


def run(target: Target, session: Session, tally: Tally) -> None:
    """Decode every input of a session, good series after most and around some.

    Raises:
        Fault: a decoder raised anything but `WireError`, gave out what it must not, or did not
            decode a good series after a hostile input.
    """
    options = session.variant.options
    decoder = target.make(options)
    max_bytes = int(options.get("max_bytes", MAX_BYTES))
    series = itertools.cycle(session.variant.good)
    for number, step in enumerate(session.steps):
        try:
            match number % 4:
                case 0:  # amid a good series
                    good = next(series)
                    before = _begin(decoder, good)
                    outcome = outcome_of(decoder, step.message, max_bytes)
                    _finish(decoder, good, before)
                case 1:  # the next hostile one follows at once, or after a silence
                    outcome = outcome_of(decoder, step.message, max_bytes)
                    if number % 8 == 1:
                        decoder.forget()
                case _:
                    outcome = outcome_of(decoder, step.message, max_bytes)
                    _whole(decoder, next(series))
        except Exception as error:  # anything is a finding
            raise Fault(f"{type(error).__name__}: {error!s:.300}", number + 1) from error
        tally.kinds[step.kind] += 1
        if step.kind == "structured":
            tally.parsed += re.match(target.outer, outcome) is None
        tally.outcomes[outcome] += 1
        tally.first.setdefault(outcome, (options, step.message))


def outcome_of(decoder: Decoder, message: raw.Message, max_bytes: int = MAX_BYTES) -> str:
    """What came of a hostile input, in words without its values.

    Raises:
        AssertionError: what came of it breaks a promise.
        Exception: whatever else than `WireError` the decoder raised.
    """
    try:
        events = decoder.decode(message)
    except WireError as error:
        complaint, image_id = str(error), error.image_id
    else:
        return _accepted(events, max_bytes)
    assert len(complaint) < 300, f"a long complaint: {complaint:.80}"
    assert complaint.isprintable(), f"a complaint with odd letters: {complaint!r:.80}"
    assert -1 <= image_id < 1 << 63
    return signature(complaint)


def _accepted(events: tuple[Message, ...], max_bytes: int) -> str:
    for event in events:
        check(event, max_bytes)
    return "accepted: " + " ".join(type(event).__name__ for event in events)


def signature(complaint: str) -> str:
    """A complaint without the values in it."""
    cause = re.split(r", (?:not|only) | is (?=['\d\[{])| is no date|;| \(", complaint, maxsplit=1)[
        0
    ]
    cause = re.sub(r"(u?int|float)\d+", "~", cause)
    return re.sub(r"'.*|\".*|[\[{<].*|(?<![A-Za-z_-])-?\d[\d.e+-]*", "~", cause)[:60]


def check(event: Message, max_bytes: int) -> None:
    """Whatever a decoder gives out keeps the promises of `cade.frames`."""
    assert event.series_id
    assert event.series_id.isprintable()
    assert len(event.series_id) < 250
    match event:
        case Frame():
            _check_frame(event, max_bytes)
        case SeriesStart():
            _check_start(event, max_bytes)
        case SeriesEnd():
            pass
        case _:
            raise AssertionError(f"no event: {event!r:.80}")


def _check_frame(frame: Frame, max_bytes: int) -> None:
    data = frame.data
    assert isinstance(data, np.ndarray)
    assert data.ndim == 2
    assert data.size > 0
    assert data.nbytes <= max_bytes
    assert data.dtype.isnative
    assert data.dtype.name in DTYPES
    assert not data.flags.writeable
    assert type(frame.image_id) is int
    assert 0 <= frame.image_id < 1 << 63
    assert math.isfinite(frame.timestamp_s)
    assert frame.role is None or isinstance(frame.role, Role)
    assert _positive(frame.saturation_value)
    assert frame.monitor is None or isinstance(frame.monitor, float)


def _check_start(start: SeriesStart, max_bytes: int) -> None:
    assert math.isfinite(start.start_time_s)
    assert start.image_count is None or 1 <= start.image_count < 1 << 63, "image_count"
    assert start.role is None or isinstance(start.role, Role)
    assert start.dtype is None or start.dtype in DTYPES
    if start.shape is not None:
        height, width = start.shape
        assert height > 0
        assert width > 0
        item = np.dtype(start.dtype or "u1").itemsize
        assert height * width * item <= max_bytes, "shape of a start"
    assert isinstance(start.beamline, Beamline)
    for name in ("energy_ev", "pixel_size_m", "distance_m", "exposure_s"):
        assert _positive(getattr(start.beamline, name)), name
    for image in (start.flatfield, start.pixel_mask):
        assert image is None or (image.ndim == 2 and image.nbytes <= max_bytes)


def _positive(value: float | None) -> bool:
    return value is None or (math.isfinite(value) and value > 0)


def _whole(decoder: Decoder, good: GoodSeries) -> None:
    """A good series, which nothing before it may change."""
    if good.forget:
        decoder.forget()
    events = [event for parts in good.messages for event in decoder.decode(parts)]
    if isinstance(events[0], SeriesEnd):  # of the series before
        del events[0]
    start, frames = events[0], [event for event in events if isinstance(event, Frame)]
    assert isinstance(start, SeriesStart), "no start"
    assert start.role == good.role, "role of the start"
    assert {frame.series_id for frame in frames} == {start.series_id}
    assert {frame.role for frame in frames} == {good.role}, "role of the images"
    if len(events) > len(frames) + 1:
        assert events[-1] == SeriesEnd(start.series_id)
    _same_images(frames, good)
    step = frames[1].image_id
    assert step > 0, "image ids"
    assert [frame.image_id for frame in frames] == [n * step for n in range(len(frames))]


def _begin(decoder: Decoder, good: GoodSeries) -> list[Message]:
    """The first half of a good series."""
    half = len(good.messages) // 2
    return [event for parts in good.messages[:half] for event in decoder.decode(parts)]


def _finish(decoder: Decoder, good: GoodSeries, before: list[Message]) -> None:
    """The rest; the input between may have been a start, so names and roles may differ."""
    half = len(good.messages) // 2
    after = [event for parts in good.messages[half:] for event in decoder.decode(parts)]
    _same_images([event for event in before + after if isinstance(event, Frame)], good)


def _same_images(frames: list[Frame], good: GoodSeries) -> None:
    assert len(frames) == len(good.images), "number of images"
    for frame, image in zip(frames, good.images, strict=True):
        assert frame.data.dtype == image.dtype, "dtype"
        assert np.array_equal(frame.data, image), "pixels"
