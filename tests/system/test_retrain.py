"""`cade retrain` in its own process: what is not worse is promoted, what is worse is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the bitshuffle filter
import numpy as np
import pytest

from daemon import commands
from daemon.references.file import read_average
from daemon.references.store import ReferenceStore
from models.weights_file import find_weights, read_card, sha256_of
from tests.models.beamline import frames

ROOT = Path(__file__).parents[2]
SHORT = ["--patterns", "1", "--quick", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def beamline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two patterns of five frames each, and flat and dark."""
    folder = tmp_path_factory.mktemp("beamline")
    rng = np.random.default_rng(4)
    gain = (1 + 0.05 * rng.standard_normal((160, 200))).astype(np.float32)
    for seed in (3, 4):
        stack = frames(5, seed=seed, noise_seed=seed, photons=800, drift_px=0.05)
        np.save(folder / f"diffuser_{seed}.npy", stack * gain + 100)
    np.save(folder / "flat.npy", 800 * gain + 100)
    np.save(folder / "dark.npy", np.full((160, 200), 100, np.float32))
    return folder


def retrain(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", "retrain", *words],
        capture_output=True, text=True, timeout=280, cwd=folder, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


def references(*more: str) -> list[str]:
    return ["--references", "diffuser_3.npy", "diffuser_4.npy", *more]


@pytest.fixture(scope="module")
def promoted(beamline: Path) -> subprocess.CompletedProcess[str]:
    """A short and careful retraining."""
    return retrain(
        beamline, *references("--flat", "flat.npy", "--dark", "dark.npy"), "--name", "own",
        "--steps", "2", "--rate", "1e-6", *SHORT,
    )  # fmt: skip


def test_what_is_not_worse_is_promoted(
    beamline: Path, promoted: subprocess.CompletedProcess[str]
) -> None:
    assert promoted.returncode == 0, promoted.stderr
    assert "diffuser_3.npy: 5 frames, drift up to 0.2" in promoted.stdout
    path = find_weights("own", beamline / "weights")
    card = read_card(path)
    assert card.sha256 == sha256_of(path)
    assert card.command.startswith("cade retrain --references diffuser_3.npy diffuser_4.npy")
    told: dict[str, Any] = card.training
    assert told["parent"] == {"name": "cade", "sha256": read_card(find_weights("cade")).sha256}
    assert told["steps"] == 2
    files = {entry["name"]: entry["sha256"] for entry in told["references"]["files"]}
    assert files["diffuser_4.npy"] == sha256_of(beamline / "diffuser_4.npy")
    assert files.keys() == {"diffuser_3.npy", "diffuser_4.npy", "flat.npy", "dark.npy"}
    assert told["references"]["counts"] == pytest.approx(800, rel=0.1)
    for what in ("references_px", "simulated_px"):
        old, new = (told["comparison"][which][what] for which in ("old", "new"))
        assert new == pytest.approx(old, rel=0.02)
        assert f"{old:.4f}" in promoted.stdout
    assert sha256_of(path) != read_card(find_weights("cade")).sha256


def test_new_weights_are_picked_up_by_name(
    beamline: Path, promoted: subprocess.CompletedProcess[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert promoted.returncode == 0, promoted.stderr
    monkeypatch.setenv("CADE_TRACKER__WEIGHTS_FOLDER", str(beamline / "weights"))
    stack = np.load(beamline / "diffuser_3.npy")
    np.save(beamline / "one.npy", stack[0])
    output = beamline / "scan.h5"
    code = commands.main(
        ["process", "--reference", str(beamline / "diffuser_3.npy"), "--sample",
         str(beamline / "one.npy"), "--output", str(output), "--displacement-only",
         "--weights", "own", "--device", "cpu"]
    )  # fmt: skip
    assert code == 0
    with h5py.File(output) as file:
        text = file["entry/configuration/data"].asstr()[()]
        assert 'weights = "own"' in text
        stored = [
            file[f"entry/{name}/parameters/weights_sha256"].asstr()[()]
            for name in file["entry"]
            if f"entry/{name}/parameters/weights_sha256" in file
        ]
    assert stored == [sha256_of(beamline / "weights" / "own.safetensors")]


def test_sabotage_is_refused(beamline: Path) -> None:
    """A learning rate that ruins the weights in six steps."""
    done = retrain(
        beamline, *references(), "--name", "bad", "--steps", "6", "--rate", "0.05",
        "--share", "1", *SHORT,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    [line] = [line for line in done.stderr.splitlines() if "not promoted" in line]
    assert "% on held-back references (EPE " in line
    assert "% on the simulator's test set (EPE " in line
    assert "runs/bad/bad.safetensors" in line
    assert not list((beamline / "weights").glob("bad*"))
    card = read_card(beamline / "runs" / "bad" / "bad.safetensors")
    scores = card.training["comparison"]
    assert scores["new"]["references_px"] > 1.02 * scores["old"]["references_px"]


def test_a_run_is_neither_begun_over_nor_continued_as_another(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was noted of the first run is compared before the first step."""
    words = ["--references", stack(here / "a.npy"), "--name", "own", "--device", "cpu"]
    folder = here / "runs" / "own"
    folder.mkdir(parents=True)
    (folder / "references.json").write_text('{"references": "others"}')
    code, error = refuse(capsys, *words)
    assert (code, "--resume" in error) == (2, True)
    code, error = refuse(capsys, *words, "--resume")
    assert (code, "other references, weights or options" in error) == (2, True)
    assert not (folder / "checkpoint.pt").exists()


def refuse(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = commands.main(["retrain", *words])
    error = capsys.readouterr().err
    assert error.startswith("cade: ")
    assert len(error.splitlines()) == 1, error
    return code, error


def stack(path: Path, seed: int = 3, **more: Any) -> str:
    np.save(path, frames(2, seed=seed, **more))
    return str(path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--share", "0"], "--share"),
        (["--minutes", "0"], "--minutes"),
        (["--counts", "-5"], "--counts"),
        (["--steps", "0"], "--steps"),
        (["--from", "nothing"], "unknown weights 'nothing'"),
        (["--name", "../own"], "must be a word"),
        (["--name", "cade"], "shipped"),
    ],
)
def test_wrong_use_ends_before_anything_is_read(
    here: Path, capsys: pytest.CaptureFixture[str], option: list[str], says: str
) -> None:
    words = ["--references", "none.npy", "--name", "own", *option]
    code, error = refuse(capsys, *words)
    assert code == 2
    assert says in error


def test_a_name_that_is_taken(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "weights").mkdir()
    (here / "weights" / "own.safetensors").write_text("mine")
    code, error = refuse(capsys, "--references", "none.npy", "--name", "own")
    assert (code, "never overwritten" in error) == (2, True)
    assert (here / "weights" / "own.safetensors").read_text() == "mine"


def test_references_of_different_shapes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [stack(here / "a.npy"), stack(here / "b.npy", shape=(150, 200))]
    code, error = refuse(capsys, "--references", *files, "--name", "own")
    assert code == 1
    assert "a.npy" in error
    assert "b.npy" in error
    assert not (here / "runs" / "own" / "checkpoint.pt").exists()


def test_no_usable_speckle(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(1).poisson(800, (3, 160, 200)).astype(np.uint16)
    for count in (1, 3):  # of several frames it is noticed that they do not repeat each other
        np.save(here / "empty.npy", noise[:count])
        code, error = refuse(capsys, "--references", "empty.npy", "--name", "own")
        assert (code, "empty.npy" in error, "usable speckle" in error) == (1, True, True)


def test_too_many_dead_pixels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = frames(2)
    bad[:, :, :60] = np.nan
    np.save(here / "dead.npy", bad)
    code, error = refuse(capsys, "--references", "dead.npy", "--name", "own")
    assert (code, "dead.npy" in error, "30%" in error) == (1, True, True)


def test_files_that_cannot_be_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refuse(capsys, "--references", "none.npy", "--name", "own")
    assert (code, "none.npy" in error) == (1, True)
    good = stack(here / "a.npy")
    np.save(here / "flat.npy", np.ones((20, 20)))
    code, error = refuse(
        capsys, "--references", good, "--flat", str(here / "flat.npy"), "--name", "own"
    )
    assert (code, "flat.npy" in error) == (1, True)


def test_a_folder_that_cannot_be_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").write_text("")
    good = stack(here / "a.npy")
    code, error = refuse(
        capsys, "--references", good, "--name", "own", "--weights-folder", str(here / "file")
    )
    assert (code, "--weights-folder" in error) == (1, True)


def test_stored_references_bring_their_variance(here: Path) -> None:
    """Files of the daemon's own store hold an average; its noise is that of one frame."""
    from daemon.commands.retrain_input import frame_files
    from daemon.correction.correction import Correction
    from daemon.settings import CheckSettings
    from models.retraining import gather_material

    store = ReferenceStore(here / "references")
    for seed in (3, 4):
        images = enumerate(frames(12, seed=seed, noise_seed=seed, photons=300))
        store.add(((str(n), image) for n, image in images), timestamp_s=1e9 + seed)
    paths = sorted((here / "references").glob("*.h5"))
    assert read_average(paths[0]).count == 12
    found = gather_material(frame_files(paths, Correction(), CheckSettings()))
    assert [row["frames"] for row in found.patterns] == [12, 12]
    assert found.counts == pytest.approx(300, rel=0.25)
    assert "stored variance" in found.patterns[0]["noise_from"]
    json.dumps(found.patterns, allow_nan=False)
