"""How many images of an HDF5 dataset have really been written, whatever its shape claims."""

from __future__ import annotations

import math

import h5py

from cade.files.nexus_file import NexusFile
from cade.files.stored import UnreadableFile, check_layout

_DEEPEST = 4
"""Virtual datasets whose sources are virtual in turn, so deep at most."""


def written_frames(nexus: NexusFile, dataset: h5py.Dataset, depth: int = 0) -> tuple[int, str]:
    """The number of images from the first on, and why there are not as many as promised.

    Places that were reserved and never written are no images, and neither is what a virtual
    dataset maps to images that its sources do not have: HDF5 reads both as zeros.

    Raises:
        UnreadableFile: a source of a virtual dataset is missing or may not be read.
    """
    if dataset.is_virtual:
        return _mapped_frames(nexus, dataset, depth)
    count = int(dataset.shape[0]) if dataset.ndim == 3 else 1
    if dataset.ndim == 2 or dataset.external:
        return count, ""
    if dataset.chunks is None:
        return (count, "") if dataset.id.get_storage_size() else (0, "has no image written yet")
    written, problem = min(count, _chunked_frames(dataset)), ""
    if written == 0:
        problem = f"announces {count} images, none of which has been written"
    return written, problem


def _chunked_frames(dataset: h5py.Dataset) -> int:
    last = -1

    def look(chunk: h5py.h5d.StoreInfo) -> None:
        nonlocal last
        last = max(last, chunk.chunk_offset[0])

    dataset.id.chunk_iter(look)
    return last + dataset.chunks[0] if last >= 0 else 0


def _mapped_frames(nexus: NexusFile, dataset: h5py.Dataset, depth: int) -> tuple[int, str]:
    nexus.check_sources(dataset)
    if dataset.ndim != 3:
        return 1, ""
    sources = dataset.virtual_sources()
    if any("%" in source.file_name for source in sources):  # HDF5 has counted what is there
        return int(dataset.shape[0]), ""
    if depth >= _DEEPEST:
        raise UnreadableFile(nexus.path, f"has virtual datasets more than {_DEEPEST} deep")
    count, problem = 0, ""
    ends = []
    for source in sources:
        first, last = _span(source.vspace) or (0, int(dataset.shape[0]) - 1)
        count = max(count, min(last + 1, int(dataset.shape[0])))
        there = _frames_of_source(nexus, dataset, source, depth)
        source_first, source_last = _span(source.src_space) or (0, last - first)
        if source_last >= there:
            share = (last + 1 - first) / (source_last + 1 - source_first)
            ends.append(first + math.floor(max(0, there - source_first) * share))
            problem = f"takes image {ends[-1]} from {source.file_name}, which has {there} images"
    return min([count, *ends]), problem


def _frames_of_source(
    nexus: NexusFile, dataset: h5py.Dataset, source: h5py.VDSmap, depth: int
) -> int:
    try:
        if source.file_name == ".":
            found = nexus.dataset(source.dset_name, dataset.file)
            return _source_frames(nexus, found, source, depth)
        target = nexus.target(dataset, source.file_name)
        with NexusFile(target, within=nexus.within) as other:
            return _source_frames(other, other.dataset(source.dset_name, other.h5), source, depth)
    except UnreadableFile as error:
        problem = f"takes frames from {source.file_name}, which {error.problem}"
        raise UnreadableFile(nexus.path, problem) from error


def _source_frames(
    nexus: NexusFile, found: h5py.Dataset | None, source: h5py.VDSmap, depth: int
) -> int:
    if found is None:
        problem = f"has no dataset {source.dset_name}, where a virtual one looks for images"
        raise UnreadableFile(nexus.path, problem)
    check_layout(nexus.path, found.shape, found.dtype)
    return written_frames(nexus, found, depth + 1)[0]


def _span(space: h5py.h5s.SpaceID) -> tuple[int, int] | None:
    """First and last image of a selection, a 2-D one being one image; None for all there are."""
    try:
        low, high = space.get_select_bounds()
    except (ValueError, RuntimeError):
        return None
    return (int(low[0]), int(high[0])) if len(low) == 3 else (0, 0)
