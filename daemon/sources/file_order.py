"""In which order the files are read that are ready at the same time."""

from __future__ import annotations

from pathlib import Path

from daemon.roles import role_of
from daemon.settings import FolderSettings, RoleSettings
from daemon.sources.file_finder import Order, natural_order
from daemon.sources.file_reader import FileReader
from daemon.sources.watched_file import WatchedFile

Key = tuple[bool, tuple[Order, ...], float, Order]


class FileOrder:
    """Folders whose name states a role first, folders by name, and their files by `order`.

    `time` is the time of the last change; a file whose header states no time has it by `header` as
    well. Of files with the same time the numbers in the names decide.
    """

    def __init__(
        self, settings: FolderSettings, roles: RoleSettings, root: Path, reader: FileReader
    ) -> None:
        self._order, self._roles, self._root, self._reader = settings.order, roles, root, reader

    def sort(self, files: list[WatchedFile]) -> list[WatchedFile]:
        """The files in order."""
        return sorted(files, key=self._key) if len(files) > 1 else files

    def _key(self, file: WatchedFile) -> Key:
        *folders, name = file.path.relative_to(self._root).parts
        plain = role_of(folders, self._roles) is None
        return plain, tuple(map(natural_order, folders)), self._time_s(file), natural_order(name)

    def _time_s(self, file: WatchedFile) -> float:
        if self._order == "name":
            return 0.0
        stated = self._reader.time_s(file.path) if self._order == "header" else None
        return file.mtime_s if stated is None else stated
