"""The store of references: exact averages, whole files, damage that stays where it is."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cade.errors import CadeError
from cade.files import read_frames
from cade.frames import Image
from daemon.commands import main
from daemon.references.average import Average, RunningAverage
from daemon.references.choice import Choice
from daemon.references.conditions import Conditions
from daemon.references.file import read_average
from daemon.references.shelf import Shelf
from daemon.references.store import ReferenceStore

NOON_S = 1_700_000_000.25


EIGER = Conditions("eiger", 3e4, 0.1, 2.0, math.inf, -1.5e-3)


def named(frames: Iterable[Image]) -> Iterator[tuple[str, Image]]:
    return ((f"frame {number}", frame) for number, frame in enumerate(frames))


def average(frames: Iterable[Image]) -> Average:
    running = RunningAverage()
    for frame in frames:
        running.add(frame)
    return running.result()


def newest(store: ReferenceStore) -> str:
    """Of those that can be used."""
    shelf = Shelf(store)
    shelf.look()
    while True:
        choice = Choice(shelf.summaries[-1], 0.0)
        if shelf.reference(choice) is not None:
            return choice.reference_id


def noise(count: int = 3, shape: tuple[int, int] = (5, 7), seed: int = 0) -> list[Image]:
    return list(np.random.default_rng(seed).integers(0, 60000, (count, *shape), dtype=np.uint16))


@pytest.fixture
def store(tmp_path: Path) -> ReferenceStore:
    return ReferenceStore(tmp_path / "references")


def add(store: ReferenceStore, timestamp_s: float = NOON_S, seed: int = 0, side: int = 8) -> str:
    frames = noise(shape=(side, side), seed=seed)
    return store.add(named(frames), timestamp_s=timestamp_s).reference_id


def damage(store: ReferenceStore, reference_id: str) -> Path:
    """Flip one bit of a pixel."""
    path = store.folder / f"{reference_id}.h5"
    with h5py.File(path) as file:
        place = file["/entry/reference/mean"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 3] ^= 1
    path.write_bytes(content)
    return path


@given(
    stack=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.float32]),
        st.tuples(st.integers(2, 5), st.integers(1, 4), st.integers(1, 4)),
        elements={"min_value": 0, "max_value": 200},
    )
)
def test_average_is_that_of_numpy(stack: Image) -> None:
    result = average(iter(stack))
    assert result.count == len(stack)
    exact = stack.astype(np.float64)
    np.testing.assert_allclose(result.mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(result.variance, exact.var(axis=0, ddof=1), rtol=1e-5, atol=1e-9)


def test_average_keeps_small_noise_on_a_large_mean() -> None:
    rng = np.random.default_rng(1)
    frames = [4e9 + rng.normal(0, 1, (50, 50)) for _ in range(100)]
    assert average(frames).variance.mean() == pytest.approx(1, rel=0.02)


def test_one_frame_has_no_variance_and_nan_stays() -> None:
    frame = np.ones((2, 2), np.float32)
    frame[0, 1] = np.nan
    result = average([frame])
    assert np.isnan(result.variance).all()
    np.testing.assert_array_equal(average([np.ones((2, 2)), frame]).mean, frame)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames to average"),
        ([np.ones((2, 3)), np.ones((3, 2))], r"frame 1 has shape \(3, 2\), those before it \(2, 3"),
        ([np.ones(3)], r"frame 0 is not an image but float64 of shape \(3,\)"),
        ([np.ones((0, 3))], "frame 0 is not an image"),
        ([np.ones((2, 2), complex)], "frame 0 is not an image but complex128"),
    ],
)
def test_what_cannot_be_averaged(frames: list[Image], message: str, store: ReferenceStore) -> None:
    with pytest.raises(CadeError, match=message):
        store.add(named(frames), timestamp_s=0.0)
    assert not store.folder.exists()


def test_added_comes_back(store: ReferenceStore) -> None:
    frames = noise()
    added = store.add(named(frames), conditions=EIGER, timestamp_s=NOON_S, origin="series 7")
    assert store.summary(added.reference_id) == added
    found = store.load(added)
    assert found.reference_id == added.reference_id
    assert found.reference_id.startswith("20231114T221320Z-")
    assert (found.frame_count, found.timestamp_s) == (3, NOON_S)
    assert found.data.dtype == np.float32
    np.testing.assert_array_equal(found.data, np.mean(frames, axis=0, dtype=float).astype("f4"))
    summary, result = store.show(added.reference_id)
    assert (summary.conditions, summary.origin, summary.shape) == (EIGER, "series 7", (5, 7))
    np.testing.assert_allclose(result.variance, np.var(frames, axis=0, ddof=1), rtol=1e-5)


def test_file_is_nexus_with_units(store: ReferenceStore) -> None:
    path = store.folder / f"{add(store)}.h5"
    with h5py.File(path) as file:
        assert file.attrs["default"] == "entry"
        group = file["entry/reference"]
        assert (group.attrs["NX_class"], group.attrs["signal"]) == ("NXdata", "mean")
        numbers = ("mean", "variance", "timestamp", "frame_count")
        units = [group[name].attrs["units"] for name in numbers]
        assert units == ["counts", "counts^2", "s", ""]
        assert group["time"].asstr()[()] == "2023-11-14T22:13:20.250000+00:00"
        assert "energy" not in group  # what is not known
    added = store.add(named(noise()), conditions=EIGER, timestamp_s=NOON_S)
    with h5py.File(store.folder / f"{added.reference_id}.h5") as file:
        found = {
            name: (
                file[f"entry/reference/{name}"][()],
                file[f"entry/reference/{name}"].attrs["units"],
            )
            for name in ("energy", "exposure", "distance", "source_distance", "diffuser")
        }
    assert found == {
        "energy": (3e4, "eV"),
        "exposure": (0.1, "s"),
        "distance": (2.0, "m"),
        "source_distance": (math.inf, "m"),
        "diffuser": (-1.5e-3, "m"),
    }


def test_a_file_of_the_first_version_is_read(store: ReferenceStore) -> None:
    reference_id = add(store)
    with h5py.File(store.folder / f"{reference_id}.h5", "r+") as file:
        del file["entry/reference/left_out"]
    summary, result = store.show(reference_id)
    assert (summary.left_out, result.left_out, summary.conditions) == ((), (), Conditions())


def test_the_list_is_by_time(store: ReferenceStore) -> None:
    for later_s in (9, 0, 99):
        add(store, NOON_S + later_s)
    times = [summary.timestamp_s for summary in store.list().references]
    assert times == [NOON_S, NOON_S + 9, NOON_S + 99]


def test_the_shelf_sees_what_comes_and_goes(store: ReferenceStore) -> None:
    shelf = Shelf(store)
    assert not shelf.look()
    one, two = add(store, NOON_S + 9), add(store, NOON_S)
    assert shelf.look()
    assert [summary.reference_id for summary in shelf.summaries] == [two, one]
    version = shelf.version
    assert not shelf.look()
    assert shelf.version == version
    store.remove(two)
    assert shelf.look()
    assert [summary.reference_id for summary in shelf.summaries] == [one]
    kept = shelf.keep(average(noise()), timestamp_s=NOON_S, conditions=EIGER, origin="x")
    assert not shelf.look()
    assert shelf.summaries[0] == kept


def test_the_shelf_reads_pixels_once_and_keeps_a_few(store: ReferenceStore) -> None:
    shelf = Shelf(store)
    for seed in range(6):
        add(store, NOON_S + seed, seed)
    shelf.look()
    choices = [Choice(summary, 0.0) for summary in shelf.summaries]
    loaded = [shelf.reference(choice) for choice in choices]
    assert [shelf.reference(choice) for choice in choices[2:]] == loaded[2:]
    again = shelf.reference(choices[0])
    assert again is not None
    assert again is not loaded[0]
    between = shelf.reference(Choice(choices[0].first, 1.0, choices[1].first, 0.25))
    assert between is not None
    assert loaded[0] is not None
    assert loaded[1] is not None
    expected = 0.75 * loaded[0].data + 0.25 * loaded[1].data
    np.testing.assert_allclose(between.data, expected, rtol=1e-6)
    ids = [choice.reference_id for choice in choices]
    assert between.reference_id == f"0.750*{ids[0]} + 0.250*{ids[1]}"
    assert (between.frame_count, between.timestamp_s) == (6, NOON_S + 0.25)


def test_same_second_is_two_references_and_same_frames_are_one(store: ReferenceStore) -> None:
    assert add(store, seed=1) != add(store, seed=2)
    assert add(store, seed=1) == add(store, seed=1)
    assert len(store.list().references) == 2


def test_damaged_pixels_are_passed_over(
    store: ReferenceStore, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = add(store, NOON_S), add(store, NOON_S + 1)
    path = damage(store, newer)
    assert newest(store) == older
    assert str(path) in str(caplog.records[0].__dict__)
    with pytest.raises(CadeError, match=f"{newer}.h5: damaged, or not a reference"):
        store.show(newer)


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_damaged_file_is_named_and_the_rest_is_listed(
    content: bytes | None, store: ReferenceStore, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = add(store, NOON_S), add(store, NOON_S + 1)
    path = store.folder / f"{bad}.h5"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    listing = store.list()
    assert [summary.reference_id for summary in listing.references] == [good]
    [line] = listing.damaged
    assert line.startswith(f"{path}: damaged, or not a reference (")
    assert newest(store) == good
    assert "passed over" in caplog.text
    store.remove(bad)
    assert not store.list().damaged


def test_foreign_hdf5_is_damaged_not_fatal(store: ReferenceStore) -> None:
    store.folder.mkdir()
    for name, path in (("a", "other"), ("b", "entry/reference/mean")):
        with h5py.File(store.folder / f"{name}.h5", "w") as file:
            file[path] = 1
    assert len(store.list().damaged) == 2


def test_unfinished_file_is_not_seen(store: ReferenceStore) -> None:
    good = add(store)
    (store.folder / f".{good}.h5.99.part").write_bytes(b"half")
    assert len(store.list().references) == 1
    assert not store.list().damaged


def test_failed_write_leaves_nothing(store: ReferenceStore, tmp_path: Path) -> None:
    store.folder.write_text("a file where the folder should be")
    with pytest.raises(
        CadeError, match=r"cannot be written \(.*\); check the folder's permissions"
    ):
        add(store)
    assert [path.name for path in tmp_path.iterdir()] == ["references"]


def test_file_that_does_not_fit_is_one_line_and_leaves_nothing(store: ReferenceStore) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk
    try:
        with pytest.raises(
            CadeError, match=r"cannot be written \(File too large\); check"
        ) as caught:
            add(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert not list(store.folder.iterdir())
    assert add(store)


@pytest.mark.parametrize("name", ["../../etc/passwd", "20231114T221320Z-0000000g", ""])
def test_an_id_is_no_path(name: str, store: ReferenceStore) -> None:
    for act in (store.show, store.remove):
        with pytest.raises(CadeError, match="not the id of a reference"):
            act(name)


def test_missing_reference_is_named(store: ReferenceStore) -> None:
    for act in (store.show, store.remove):
        with pytest.raises(CadeError, match=r"0Z-00000000\.h5: no such reference"):
            act("20231114T221320Z-00000000")


def test_export_is_the_mean_as_tiff(store: ReferenceStore, tmp_path: Path) -> None:
    reference_id = add(store)
    file = tmp_path / "mean.tif"
    store.export(reference_id, file)
    np.testing.assert_array_equal(
        tifffile.imread(file), read_average(store.folder / f"{reference_id}.h5").mean
    )
    with pytest.raises(CadeError, match="exists; remove it"):
        store.export(reference_id, file)
    with pytest.raises(CadeError, match="cannot be written"):
        store.export(reference_id, tmp_path / "gone" / "mean.tif")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for index, frame in enumerate(noise()):
        files.append(str(tmp_path / f"ref{index}.tif"))
        tifffile.imwrite(files[-1], frame)
    base = ["references", "--store", str(tmp_path / "store")]
    assert main([*base, "list"]) == 0
    assert "no references" in capsys.readouterr().err
    assert main([*base, "add", "--detector", "eiger", *files]) == 0
    reference_id, text = capsys.readouterr().out.split(maxsplit=1)
    assert text == "mean of 3 frames\n"
    assert main([*base, "list"]) == 0
    assert f"{reference_id}  20" in capsys.readouterr().out
    assert main([*base, "show", reference_id]) == 0
    shown = capsys.readouterr().out
    assert "5 × 7  3 frames  eiger" in shown
    assert "left out" not in shown
    assert f"origin:         {', '.join(files)}" in shown
    assert "invalid pixels: 0" in shown
    assert main([*base, "export", reference_id, str(tmp_path / "out.tif")]) == 0
    assert next(iter(read_frames(tmp_path / "out.tif"))).shape == (5, 7)
    assert main([*base, "remove", reference_id]) == 0
    assert main([*base, "remove", reference_id]) == 1
    assert "no such reference" in capsys.readouterr().err


def test_command_line_keys_names_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The odd one of six frames is left out and named; options win over the configuration."""
    frames = np.stack([*noise(1)] * 6)
    frames[3] = frames[3][::-1]
    np.save(tmp_path / "ref.npy", frames)
    (tmp_path / "cade.toml").write_text("geometry.energy_ev = 2e4\ngeometry.distance_m = 1.5\n")
    base = ["references", "--config", str(tmp_path / "cade.toml"), "--store", str(tmp_path / "s")]
    words = ["--energy-kev", "30", "--exposure-s", "0.1", "--diffuser-m", "1e-3"]
    words += ["--time", "2026-01-31T12:00:00+00:00", str(tmp_path / "ref.npy")]
    assert main([*base, "add", *words]) == 0
    added = capsys.readouterr()
    reference_id, text = added.out.split(maxsplit=1)
    assert (reference_id[:16], text) == ("20260131T120000Z", "mean of 5 frames\n")
    assert added.err.startswith(f"cade: left out frame 3 of {tmp_path}/ref.npy: its pattern is")
    assert main([*base, "list", "--thumbnails", str(tmp_path / "pictures")]) == 0
    assert "5 frames  30 keV  0.1 s  1 left out" in capsys.readouterr().out
    assert main([*base, "show", reference_id, "--preview", str(tmp_path / "x.png")]) == 0
    shown = capsys.readouterr().out
    for line in ("energy_ev:      30000", "distance_m:     1.5", "diffuser_m:     0.001"):
        assert line in shown
    assert "left out:       frame 3 of" in shown
    for picture in (tmp_path / "pictures" / f"{reference_id}.png", tmp_path / "x.png"):
        with PIL.Image.open(picture) as image:
            assert min(image.size) > 50
    assert main([*base, "show", reference_id, "--preview", "x.jpg"]) == 2
    (tmp_path / "file").touch()
    assert main([*base, "list", "--thumbnails", str(tmp_path / "file")]) == 1
    assert f"{tmp_path}/file: cannot be made" in capsys.readouterr().err


def test_command_line_reports_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ReferenceStore(tmp_path / "store")
    good, bad = add(store), add(store, seed=5)
    (store.folder / f"{bad}.h5").write_bytes(b"")
    monkeypatch.setenv("CADE_REFERENCES__PATH", str(store.folder))
    assert main(["references", "list"]) == 1
    output = capsys.readouterr()
    assert good in output.out
    assert output.err.startswith(f"cade: {store.folder}/{bad}.h5: damaged")
    assert main(["references", "add", str(tmp_path / "gone.tif")]) == 1
    assert "gone.tif: does not exist" in capsys.readouterr().err
