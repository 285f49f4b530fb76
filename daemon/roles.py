"""A frame's role by the names of its file and folders."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from cade.frames import Role
from daemon.settings import RoleSettings


def role_of(name_parts: Iterable[str], settings: RoleSettings) -> Role | None:
    """The role that the first matching name states, None where no name matches.

    Args:
        name_parts: names from the nearest to the farthest: the file's, then its folders'. So a
            file `flat_1.tif` in a folder `ref` is a flat.
        settings: the patterns; upper and lower case are the same.
    """
    patterns = (
        (Role.REFERENCE, settings.reference),
        (Role.FLAT, settings.flat),
        (Role.DARK, settings.dark),
    )
    for name in name_parts:
        for role, globs in patterns:
            if matches(name, globs):
                return role
    return None


def matches(name: str, globs: Iterable[str]) -> bool:
    """Whether a name fits one of the patterns, upper and lower case being the same."""
    return any(fnmatchcase(name.casefold(), glob.casefold()) for glob in globs)
