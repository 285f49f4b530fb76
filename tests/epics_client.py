"""The EPICS source in a process of its own: Channel Access reads its environment only once.

`python tests/epics_client.py SETTINGS_AS_JSON` connects, and prints one JSON object a line: events,
log lines, and answers to commands. Commands on standard input: `put NAME VALUE`, `stop`.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from cade.frames import SeriesEnd, SeriesStart
from daemon.settings import EpicsSettings
from daemon.sources.epics import EpicsSource

OUTPUT = threading.Lock()


def tell(kind: str, **values: Any) -> None:
    with OUTPUT:
        print(json.dumps({"kind": kind, **values}), flush=True)


def tell_log(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    tell("log", level=level, thread=threading.current_thread().name, **event)
    raise structlog.DropEvent


def tell_events(source: EpicsSource, stop: threading.Event) -> None:
    for event in source.events(stop):
        if isinstance(event, SeriesStart):
            tell("start", series=event.series_id, role=event.role, time_s=event.start_time_s)
        elif isinstance(event, SeriesEnd):
            tell("end", series=event.series_id)


def follow_commands() -> None:
    import epics

    for line in sys.stdin:
        command, *words = line.split()
        if command == "stop":
            return
        name, value = words
        tell("put", done=epics.caput(name, value, wait=True))


def main() -> None:
    structlog.configure(processors=[tell_log])
    source = EpicsSource(EpicsSettings.model_validate_json(sys.argv[1]))
    source.connect()
    stop = threading.Event()
    thread = threading.Thread(target=tell_events, args=(source, stop), name="source")
    thread.start()
    follow_commands()
    stop.set()
    thread.join()
    source.close()
    tell("stopped", threads=[t.name for t in threading.enumerate() if t.name == "source"])


if __name__ == "__main__":
    main()
