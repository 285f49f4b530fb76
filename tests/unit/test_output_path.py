"""File names of series: free, and never outside the output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cade.errors import UsageError
from daemon.recording.output_path import output_path, safe_name
from daemon.settings import OutputSettings

START_S = 1_767_323_045.0  # 2026-01-02 03:04:05 UTC


def test_default_template(tmp_path: Path) -> None:
    settings = OutputSettings(root=tmp_path, proposal="mx-2345")
    assert output_path(settings, 12, START_S) == tmp_path / "mx-2345/000012_20260102T030405.h5"


def test_taken_names_are_counted_on(tmp_path: Path) -> None:
    settings = OutputSettings(root=tmp_path)
    names = []
    for _ in range(3):
        path = output_path(settings, 1, START_S)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        names.append(path.stem)
    first = "000001_20260102T030405"
    assert names == [first, f"{first}_1", f"{first}_2"]


def test_a_dangling_link_counts_as_taken(tmp_path: Path) -> None:
    settings = OutputSettings(root=tmp_path, path="{root}/x.h5")
    (tmp_path / "x.h5").symlink_to(tmp_path / "elsewhere")
    assert output_path(settings, 1, START_S).name == "x_1.h5"


def test_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = OutputSettings(root=Path("out"), path="{root}/x.h5")
    assert output_path(settings, 1, START_S) == tmp_path / "out/x.h5"


@pytest.mark.parametrize("proposal", ["..", "...", "."])
def test_a_proposal_cannot_climb_out(tmp_path: Path, proposal: str) -> None:
    root = tmp_path / "out"
    path = output_path(OutputSettings(root=root, proposal=proposal), 1, START_S)
    assert path.parent == root / "unnamed"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b\\c", "a_b_c"),
        ("../../etc/passwd", "_.._etc_passwd"),
        (".hidden", "hidden"),
        ("null\0byte\n", "null_byte_"),
        ("", "unnamed"),
        ("Probe_7-b.2", "Probe_7-b.2"),
        ("x" * 300, "x" * 100),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    "template", ["{root}/../x.h5", "/tmp/x.h5", "{root}", "{root}/a/../../x.h5", "../x.h5"]
)
def test_a_template_that_leaves_the_root(tmp_path: Path, template: str) -> None:
    settings = OutputSettings(root=tmp_path / "out", path=template)
    with pytest.raises(UsageError, match="not inside"):
        output_path(settings, 1, START_S)


@pytest.mark.parametrize("template", ["{root}/{sample}.h5", "{root}/{series:%Y}.h5", "{root}/{.h5"])
def test_a_template_that_cannot_be_filled_in(tmp_path: Path, template: str) -> None:
    settings = OutputSettings(root=tmp_path, path=template)
    with pytest.raises(UsageError, match=r"output\.path"):
        output_path(settings, 1, START_S)
