"""The last warning or error of the log, for those who do not read the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_MOST_CHARACTERS = 500
_OF_THE_LINE = ("event", "level", "logger", "timestamp")


@dataclass(frozen=True, slots=True)
class Remark:
    """What was logged; `is_error` where it is more than a warning."""

    text: str = ""
    is_error: bool = False


class LastError(logging.Handler):
    """Keeps what was logged last at level WARNING or above; a context manager that installs it.

    A warning does not take the place of an error.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.remark = Remark()

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record of the standard library, or of structlog on its way through it."""
        is_error = record.levelno >= logging.ERROR
        if is_error or not self.remark.is_error:
            self.remark = Remark(_text(record)[:_MOST_CHARACTERS], is_error)


def _text(record: logging.LogRecord) -> str:
    if not isinstance(record.msg, Mapping):
        return " ".join(record.getMessage().split())
    values = [f"{k}={v}" for k, v in record.msg.items() if k not in _OF_THE_LINE and k[0] != "_"]
    return " ".join(f"{record.msg.get('event', '')} {' '.join(values)}".split())
