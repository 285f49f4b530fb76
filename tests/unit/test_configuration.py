"""Configuration files and the environment become settings, or one clear line a problem."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cade.errors import UsageError
from cade.frames import Role
from daemon.configuration import load_settings, settings_schema, settings_toml, shipped
from daemon.settings import (
    ALL_FIELDS,
    FolderSettings,
    GeometrySettings,
    OutputSettings,
    RoleSettings,
    Section,
    Settings,
    StreamSettings,
    TrackerSettings,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
PATTERNS = st.lists(TEXT, max_size=3).map(tuple)

SETTINGS = st.builds(
    Settings,
    sources=st.lists(
        st.builds(
            StreamSettings,
            format=st.sampled_from(["dectris-v2", "array-1.0"]),
            endpoint=TEXT.map("tcp://a{}".format).filter(lambda text: "\n" not in text),
            channel=st.none() | TEXT,
            silence_s=st.none() | POSITIVE,
        )
        | st.builds(FolderSettings, path=TEXT.map(Path), patterns=PATTERNS),
        max_size=3,
    ).map(tuple),
    roles=st.builds(RoleSettings, flat=PATTERNS, default=st.sampled_from(Role)),
    geometry=st.builds(
        GeometrySettings,
        energy_ev=st.none() | POSITIVE,
        source_distance_m=st.none() | POSITIVE | st.just(math.inf),
    ),
    tracker=st.builds(TrackerSettings, weights=TEXT, window=st.sampled_from([3, 15, 101])),
    output=st.builds(
        OutputSettings,
        root=TEXT.map(Path),
        write=st.lists(st.sampled_from(ALL_FIELDS)).map(tuple),
        remove_tilt=st.booleans(),
    ),
    drain_s=POSITIVE,
)


def load(tmp_path: Path, text: str, **environment: str) -> Settings:
    file = tmp_path / "beamline.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environment)


def problems(tmp_path: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text, **environment)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_default_file_is_the_defaults() -> None:
    assert Settings.model_validate(tomllib.loads(shipped("default.toml"))) == Settings()
    assert load_settings(environment={}) == Settings()


def test_default_file_names_every_setting() -> None:
    text = shipped("default.toml")
    for section, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, Section):
            start = text.index(f"\n[{section}]")
            table = text[start : text.find("\n[", start + 1)]
            for key in model.model_fields:
                assert f"\n{key} = " in table or f"\n# {key} = " in table, f"{section}.{key}"
        else:
            assert f"\n{section} = " in text


@pytest.mark.parametrize("name", ["folder", "dectris", "areadetector", "pva", "demo"])
def test_examples_are_valid(name: str, tmp_path: Path) -> None:
    settings = load(tmp_path, shipped(f"{name}.toml"))
    assert len(settings.sources) == 1


def test_examples_say_what_they_promise(tmp_path: Path) -> None:
    folder = load(tmp_path, shipped("folder.toml"))
    assert isinstance(folder.sources[0], FolderSettings)
    areadetector = load(tmp_path, shipped("areadetector.toml"))
    assert isinstance(areadetector.sources[0], StreamSettings)
    assert areadetector.sources[0].socket == "sub"
    assert areadetector.epics.acquire_pv


def test_schema_file_is_up_to_date() -> None:
    assert shipped("cade.schema.json") == settings_schema(), "run: cade config schema"


@given(settings=SETTINGS)
def test_dump_round_trips(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert load(folder, settings_toml(settings)) == settings


@given(key=st.from_regex(r"[a-z]{1,12}x_z", fullmatch=True))
def test_unknown_key_names_the_nearest(key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    [line] = problems(tmp_path_factory.getbasetemp(), f"[tracker]\n{key} = 1")
    start = f"beamline.toml: tracker.{key}: unknown setting; the nearest known one is '"
    assert line.startswith(start)
    assert line.removeprefix(start).removesuffix("'") in TrackerSettings.model_fields


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[tracker]\ndevise = 1",
            "tracker.devise: unknown setting; the nearest known one is 'device'",
        ),
        (
            "energy_ev = 1.0",
            "energy_ev: unknown setting; the nearest known one is 'geometry.energy_ev'",
        ),
        (
            "[log]\ndrain_s = 1.0",
            "log.drain_s: unknown setting; the nearest known one is 'drain_s' at the top, "
            "before the first [table]",
        ),
        ("[tracker]\nwindow = 4", "tracker: window must be odd, not 4"),
        ("[batch]\nsize = true", "batch.size: must be a valid integer, not True"),
        ("[batch]\nwait_s = -1", "batch.wait_s: must be greater than or equal to 0, not -1"),
        ("[output]\nproposal = 7", "output.proposal: must be a valid string (in quotes), not 7"),
        ("[output]\nwrite = 'phase'", "output.write: must be a valid array, not 'phase'"),
        ("tracker = 1", "tracker: must be an object, not 1"),
        (
            "[geometry]\ndiffuser = 'downstream'",
            "geometry: diffuser = 'downstream' needs sample_distance_m as well",
        ),
        (
            "[epics]\nacquire_pv = 'A'\nrole_pv = 'A'",
            "epics: acquire_pv and role_pv name the same PV",
        ),
        (
            "[[sources]]\nformat = 'dectris-v2'",
            'sources[0]: its kind is missing; add kind = "stream" or "folder" or "pva" or '
            '"areadetector"',
        ),
        (
            "[[sources]]\nkind = 'usb'",
            'sources[0]: unknown kind; it must be "stream" or "folder" or "pva" or "areadetector"',
        ),
        (
            "[[sources]]\nkind = 'folder'",
            "sources[0].path: missing; add it (the folder; its subfolders are series)",
        ),
        (
            "[[sources]]\nkind = 'folder'\npath = 'a'\nwach = 1",
            "sources[0].wach: unknown setting; the nearest known one is 'watch'",
        ),
    ],
)
def test_one_problem_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == [f"beamline.toml: {line}"]


def test_every_problem_is_named(tmp_path: Path) -> None:
    lines = problems(tmp_path, "[tracker]\nwindow = 1\n[log]\nlevel = 'loud'\nlevle = 1")
    assert [line.split(": ")[1] for line in lines] == ["tracker.window", "log.level", "log.levle"]


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = = 2\n", 2), ("a = '", 1), ("[tracker]\n\nname = [1,\n", 4)]
)
def test_syntax_error_names_file_and_line(text: str, line: int, tmp_path: Path) -> None:
    [problem] = problems(tmp_path, text)
    assert problem.startswith(f"beamline.toml, line {line}: not valid TOML: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.toml: cannot be read \(No such file"):
        load_settings(tmp_path / "missing.toml", {})
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(UsageError, match=r"latin\.toml: not UTF-8 text \(byte 5\)"):
        load_settings(tmp_path / "latin.toml", {})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CADE_TRACKER__DEVICE", "cpu", ("tracker", "device", "cpu")),
        ("CADE_TRACKER__DEVICE", '"cuda:1"', ("tracker", "device", "cuda:1")),
        ("CADE_TRACKER__THREADS", "3", ("tracker", "threads", 3)),
        ("CADE_OUTPUT__PROPOSAL", "20260001", ("output", "proposal", "20260001")),
        ("CADE_OUTPUT__ROOT", "1", ("output", "root", Path("1"))),
        ("CADE_OUTPUT__ROOT", "1\nb = 2", ("output", "root", Path("1\nb = 2"))),
        ("CADE_OUTPUT__WRITE", '["phase"]', ("output", "write", ("phase",))),
        ("CADE_OUTPUT__REMOVE_TILT", "true", ("output", "remove_tilt", True)),
        ("CADE_GEOMETRY__SOURCE_DISTANCE_M", "inf", ("geometry", "source_distance_m", math.inf)),
    ],
)
def test_environment_overrides(
    name: str, value: str, expected: tuple[str, str, Any], tmp_path: Path
) -> None:
    text = "[tracker]\ndevice = 'cuda'\nwindow = 9"
    settings = load(tmp_path, text, **{name: value}, OTHER="x", CADE_TEST_DATA="/x")
    section, key, wanted = expected
    assert getattr(getattr(settings, section), key) == wanted
    assert settings.tracker.window == 9


def test_environment_changes_one_source(tmp_path: Path) -> None:
    text = shipped("dectris.toml")
    settings = load(tmp_path, text, CADE_SOURCES__0__ENDPOINT="ipc://x")
    assert isinstance(settings.sources[0], StreamSettings)
    assert (settings.sources[0].endpoint, settings.sources[0].format) == ("ipc://x", "dectris-v2")


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("CADE_TRACKER__WINDOW", "4", "tracker: window must be odd, not 4"),
        (
            "CADE_TRACKER__DEVISE",
            "cpu",
            "tracker.devise: unknown setting; the nearest known one is 'device'",
        ),
        (
            "CADE_OUTPUT__PROPOSAL",
            "a/b",
            r"output.proposal: must match pattern '^[\w.-]+$', not 'a/b'",
        ),
        (
            "CADE_SOURCES__4__ENDPOINT",
            "ipc://x",
            "sources: must be a valid array, not {'4': {'endpoint': 'ipc://x'}}",
        ),
    ],
)
def test_problem_in_the_environment_names_the_variable(
    name: str, value: str, line: str, tmp_path: Path
) -> None:
    text = shipped("dectris.toml") + "\n[tracker]\nwindow = 9"
    assert problems(tmp_path, text, **{name: value}) == [f"{name}: {line}"]
