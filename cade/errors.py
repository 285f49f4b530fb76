"""Errors that a user can act on: one line that says what, where and what to do."""

from __future__ import annotations


class CadeError(Exception):
    """Something outside the program is wrong; the message names it. Commands exit with 1."""


class UsageError(CadeError):
    """The request itself is wrong (option, setting, geometry). Commands exit with 2."""
