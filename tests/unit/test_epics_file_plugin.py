"""When areaDetector's file is complete, from the news of its PVs in any order."""

from __future__ import annotations

import pytest

from daemon.sources.epics_file_plugin import SETTLE_S, FilePlugin, WrittenFile
from daemon.sources.pv_board import PvState

LATER_S = 10.0


def known(value: object, states: tuple[str, ...] = ()) -> PvState:
    return PvState(connected=True, value=value, states=states, has_value=True, has_properties=True)


class Plugin(FilePlugin):
    """News as (field, value), all at time 0."""

    def tell(self, *news: tuple[str, object]) -> list[str]:
        return [self.follow(field, known(value), 0.0) for field, value in news]


def busy(plugin: FilePlugin) -> bool:
    return plugin.is_busy


@pytest.fixture
def plugin() -> Plugin:
    """Connected and idle; a file of yesterday is named."""
    plugin = Plugin()
    there = plugin.tell(("Capture_RBV", 0), ("WriteFile_RBV", 0), ("FullFileName_RBV", "/d/old.h5"))
    assert there == ["", "", "/d/old.h5"]
    assert plugin.take(LATER_S) == []
    assert not busy(plugin)
    return plugin


def test_a_stream_is_complete_when_capturing_ends(plugin: Plugin) -> None:
    plugin.tell(("Capture_RBV", 1), ("FullFileName_RBV", "/d/a.h5"), ("NumCaptured_RBV", 3))
    assert busy(plugin)
    assert plugin.take(LATER_S) == []
    plugin.tell(("NumCaptured_RBV", 4), ("Capture_RBV", 0))
    assert plugin.take(SETTLE_S / 2) == []
    assert busy(plugin)
    assert plugin.take(LATER_S) == [WrittenFile("/d/a.h5", 4)]
    assert not busy(plugin)
    assert plugin.take(LATER_S) == []


def test_a_buffer_is_complete_when_it_is_written(plugin: Plugin) -> None:
    plugin.tell(("Capture_RBV", 1), ("NumCaptured_RBV", 2), ("Capture_RBV", 0))
    plugin.tell(("WriteFile_RBV", 1), ("FullFileName_RBV", "/d/a.h5"))
    assert plugin.take(LATER_S) == []
    plugin.tell(("WriteFile_RBV", 0))
    assert plugin.take(LATER_S) == [WrittenFile("/d/a.h5", 2)]


def test_single_files_are_complete_when_the_next_is_begun(plugin: Plugin) -> None:
    for name in ("/d/1.tif", "/d/2.tif"):
        plugin.tell(("WriteFile_RBV", 1), ("FullFileName_RBV", name), ("WriteFile_RBV", 0))
    assert plugin.take(0.0) == [WrittenFile("/d/1.tif")]
    assert busy(plugin)
    assert plugin.take(LATER_S) == [WrittenFile("/d/2.tif")]


def test_edges_that_were_too_short_to_be_told(plugin: Plugin) -> None:
    plugin.tell(("FullFileName_RBV", "/d/1.tif"))
    assert plugin.take(LATER_S) == [WrittenFile("/d/1.tif")]


def test_the_same_name_again(plugin: Plugin) -> None:
    """Whether there is something new in it, the file itself must tell."""
    plugin.tell(("Capture_RBV", 1), ("Capture_RBV", 0))
    assert [file.name for file in plugin.take(LATER_S)] == ["/d/old.h5"]


def test_the_plugin_says_that_it_could_not_write(plugin: Plugin) -> None:
    plugin.tell(("Capture_RBV", 1), ("FullFileName_RBV", "/d/a.h5"))
    plugin.follow("WriteStatus", known(1, ("Write OK", "Write error")), 0.0)
    plugin.tell(("Capture_RBV", 0))
    [file] = plugin.take(LATER_S)
    assert file.problem == "the plugin could not write it: Write error"
    plugin.tell(("WriteMessage", "disk full"), ("Capture_RBV", 1), ("Capture_RBV", 0))
    [file] = plugin.take(LATER_S)
    assert file.problem == "the plugin could not write it: disk full"


def test_an_ioc_that_dies_while_it_captures(plugin: Plugin) -> None:
    plugin.tell(("Capture_RBV", 1), ("FullFileName_RBV", "/d/a.h5"))
    for field in ("Capture_RBV", "FullFileName_RBV"):
        plugin.follow(field, PvState(value=1), 0.0)
    assert plugin.take(LATER_S) == []
    assert busy(plugin), "nobody knows"
    plugin.tell(("FullFileName_RBV", ""), ("Capture_RBV", 0))  # started again
    assert [file.name for file in plugin.take(LATER_S)] == ["/d/a.h5"]


def test_a_name_that_is_there_again_after_a_restart_is_no_new_file(plugin: Plugin) -> None:
    plugin.follow("FullFileName_RBV", PvState(), 0.0)
    assert plugin.tell(("FullFileName_RBV", "/d/older.h5")) == ["/d/older.h5"]
    assert plugin.take(LATER_S) == []


def test_capturing_without_a_name() -> None:
    plugin = Plugin()
    plugin.tell(("Capture_RBV", 1), ("Capture_RBV", 0))
    assert plugin.take(LATER_S) == []
    assert not busy(plugin)


@pytest.mark.parametrize(
    ("field", "value"), [("Capture_RBV", "abc"), ("FullFileName_RBV", [1.0, 2.0])]
)
def test_values_that_cannot_be_used(field: str, value: object, plugin: Plugin) -> None:
    with pytest.raises(ValueError, match="is "):
        plugin.tell((field, value))
    plugin.tell(("FullFileName_RBV", "/d/a.h5"))
    plugin.tell(("NumCaptured_RBV", "many"))
    assert plugin.take(LATER_S) == [WrittenFile("/d/a.h5")]
