"""The log: structured lines on standard error, from our loggers and from libraries alike.

Ours come from `structlog.get_logger()`; those of libraries come from the standard `logging` and
from `warnings`. Both pass the same processors, so every line has the same form.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

from daemon.settings import LogSettings

HANDLER = "cade"

# DEBUG of these libraries is about themselves, never about a beamline.
NOISY = ("matplotlib", "asyncio", "watchdog")


def set_up_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every log line at or above the level to `stream`, standard error if None.

    JSON, or coloured text when the stream is a terminal (`format = "auto"`). May be called again:
    the last call holds.
    """
    stream = sys.stderr if stream is None else stream
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream)
    handler.set_name(HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(console=console, colours=stream.isatty()),
            ],
        )
    )
    _install(handler, settings.level.upper())


def _renderers(*, console: bool, colours: bool) -> list[Processor]:
    if console:
        return [structlog.dev.ConsoleRenderer(colors=colours)]
    return [
        structlog.processors.dict_tracebacks,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(),
    ]


def _install(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))
    logging.captureWarnings(capture=True)
