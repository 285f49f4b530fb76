"""An HDF5/NeXus file that is open for reading: its entry, and links that are looked at first."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import h5py
import numpy as np

from cade.files.completeness import Stage, completeness
from cade.files.stored import UnreadableFile

Node: TypeAlias = h5py.Group | h5py.Dataset


class NexusFile:
    """The file for reading, with the compression filters that detectors use; a context manager.

    It is opened without HDF5's locks: a reader that holds one makes a program fail that opens the
    file for writing.

    Args:
        path: the file.
        within: links to other files, and external storage, must not leave this folder.
        swmr: also open one that is being written in SWMR mode.

    Raises:
        UnreadableFile: another program has it open for writing, or it is truncated.
        OSError: it is gone, or damaged.
    """

    def __init__(self, path: Path, *, within: Path | None = None, swmr: bool = False) -> None:
        import hdf5plugin  # noqa: F401 - its import registers the filters

        self.path = path
        self.within = within
        found = completeness(path)
        if found.problem and not (swmr and found.stage is Stage.GROWING):
            raise UnreadableFile(path, found.problem)
        self.h5 = h5py.File(path, "r", locking=False, swmr=found.stage is Stage.GROWING)
        try:
            self.entry = self._find_entry()
        except BaseException:
            self.h5.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; safe to call twice."""
        self.h5.close()

    def find(self, name: str, parent: h5py.Group | None = None) -> Node | None:
        """The object at `name` below the entry or `parent`, None where nothing has that name.

        Raises:
            UnreadableFile: there is a link of that name, but it leads nowhere, out of `within`, or
                to a file that is not finished.
        """
        here: Node = self.entry if parent is None else parent
        for part in filter(None, name.split("/")):
            link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
            if link is None:
                return None
            target = getattr(link, "path", part)
            if isinstance(link, h5py.ExternalLink):
                self._check_target(here, link.filename)
                target = f"{link.filename}:{target}"
            try:
                here = here[part]
            except (KeyError, OSError) as error:
                problem = f"links to {target}, which cannot be opened"
                raise UnreadableFile(self.path, problem) from error
            self._check_inside(here, here.file.filename)  # a soft link may have led there
        return here

    def dataset(self, name: str, parent: h5py.Group | None = None) -> h5py.Dataset | None:
        """The same for a dataset; None for anything else.

        Raises:
            UnreadableFile: as `find`, or its values are in other files that may not be read.
        """
        found = self.find(name, parent)
        if not isinstance(found, h5py.Dataset):
            return None
        external = () if found.is_virtual else found.external or ()
        for other, *_ in external:  # HDF5 looks for a relative one where it was started
            if self.within is not None and not Path(other).is_absolute():
                raise UnreadableFile(self.path, f"stores its images in {other}, which is not read")
            self._check_inside(found, other)
        return found

    def _find_entry(self) -> h5py.Group:
        """What `@default` names, else `/entry`, else the only NXentry, else the root."""
        for name in (attribute_text(self.h5, "default"), "entry"):
            found = self.find(name, self.h5) if name else None
            if isinstance(found, h5py.Group):
                return found
        links = {name: self.h5.get(name, getlink=True) for name in self.h5}
        own = [name for name, link in links.items() if not isinstance(link, h5py.ExternalLink)]
        groups = [node for node in map(self.h5.get, own) if isinstance(node, h5py.Group)]
        entries = [group for group in groups if attribute_text(group, "NX_class") == "NXentry"]
        return entries[0] if len(entries) == 1 else self.h5

    def target(self, here: Node, name: str) -> Path:
        """The file that is called `name` in a link or a mapping of the file that holds `here`."""
        return Path(os.path.abspath(Path(here.file.filename).parent / name))  # noqa: PTH100

    def _check_inside(self, here: Node, name: str) -> Path:
        target = self.target(here, name)
        if self.within is not None and not target.resolve().is_relative_to(self.within):
            problem = f"links to {name}, which is outside {self.within} and not read for that"
            raise UnreadableFile(self.path, problem)
        return target

    def _check_target(self, here: Node, name: str) -> None:
        target = self._check_inside(here, name)
        try:
            found = completeness(target)
        except OSError as error:
            cause = (error.strerror or "").lower()
            problem = f"links to {name}, which cannot be opened ({cause})"
            raise UnreadableFile(self.path, problem) from error
        if found.problem:
            raise UnreadableFile(self.path, f"links to {name}, which {found.problem}")

    def check_sources(self, dataset: h5py.Dataset) -> None:
        """Look at the files that a virtual dataset takes its values from.

        HDF5 reads a missing one as zeros, without an error.

        Raises:
            UnreadableFile: one is missing, unfinished or out of `within`.
        """
        for source in dataset.virtual_sources() if dataset.is_virtual else ():
            # "." is this file; printf-style names stand for many files, which HDF5 counts itself.
            if source.file_name == ".":
                continue
            target = self._check_inside(dataset, source.file_name)
            if "%" in source.file_name:
                continue
            if not target.exists():
                raise UnreadableFile(
                    self.path, f"takes frames from {source.file_name}, which is missing"
                )
            found = completeness(target)
            if found.problem:
                problem = f"takes frames from {source.file_name}, which {found.problem}"
                raise UnreadableFile(self.path, problem)


def attribute_text(node: Node, name: str) -> str | None:
    """A text attribute, whether stored as str, bytes or an array of one of them."""
    value = node.attrs.get(name)
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
