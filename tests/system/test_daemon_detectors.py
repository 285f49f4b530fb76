"""The daemon with two detectors, each on sockets of its own: nothing of one serves the other."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import zmq

from cade.frames import Frame, Role, SeriesEnd, SeriesStart
from daemon.references.store import ReferenceStore
from daemon.sources.stream_keys import write_keys
from tests.daemon_process import Daemon, check_account, configuration
from tests.speckle import counts, moved, speckle
from tests.stream_bench import Detector, Sender, free_endpoint

REFERENCE = counts(speckle())
SHIFTS_PX = {"left": 0.5, "right": -0.3}
MISPLACED_PX = 0.4


def send(detector: Sender, series_id: str, role: Role, images: list[np.ndarray]) -> None:
    shape = (REFERENCE.shape[0], REFERENCE.shape[1])
    detector.send(SeriesStart(series_id, 1.7e9, len(images), shape, "uint16", role))
    order = [1, 0, *range(2, len(images))] if len(images) > 1 else [0]
    for image_id in order:
        detector.send(Frame(series_id, image_id, images[image_id], 1.7e9 + image_id))
    detector.send(SeriesEnd(series_id))


def test_two_detectors_of_one_shape(tmp_path: Path) -> None:
    """References, a missing image, and the order of swapped ones are kept apart."""
    references = {"left": REFERENCE, "right": counts(moved(speckle(), MISPLACED_PX, 0.0))}
    with (
        zmq.Context() as context,
        closing(Detector(context, zmq.PUSH, "dectris-v2")) as left,
        closing(Detector(context, zmq.PUSH, "dectris-v2")) as right,
    ):
        detectors = {"left": left, "right": right}
        sources = [
            {
                "kind": "stream",
                "format": "dectris-v2",
                "endpoint": detector.endpoint,
                "detector": name,
            }
            for name, detector in detectors.items()
        ]
        config = configuration(tmp_path, sources, output={"path": "{root}/{series}.h5"})
        with Daemon(config) as daemon:
            daemon.wait_for("ready")
            for name, detector in detectors.items():
                send(detector, f"{name}-ref", Role.REFERENCE, [references[name]])
            daemon.wait_for("reference ready", count=2)
            for name, detector in detectors.items():
                sample = counts(moved(speckle(), SHIFTS_PX[name], 0.0))
                send(detector, name, Role.SAMPLE, [sample] * 3)
            daemon.wait_for("file closed", count=2)
            stopped = daemon.stop()
    check_account(stopped, written=6, kept=2)
    stored = ReferenceStore(tmp_path / "references").list().references
    assert sorted(str(one.conditions.detector) for one in stored) == ["left", "right"]
    found = []
    for path in (tmp_path / "output").glob("*.h5"):
        with h5py.File(path) as file:
            assert file["entry/frames/image_id"][()].tolist() == [0, 1, 2]
            found.append(float(np.nanmedian(file["entry/displacement/x"][()])))
    np.testing.assert_allclose(sorted(found), [-0.7, 0.5], atol=0.05)


def test_a_missing_image_is_named_and_keys_stay_secret(tmp_path: Path) -> None:
    """A bound, encrypted source: the file has the path of the key, and nothing has the key."""
    _, secret_file, keys = write_keys(tmp_path / "keys", "daemon")
    _, _, theirs = write_keys(tmp_path / "allowed", "detector")
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        endpoint = free_endpoint()
        source = {
            "kind": "stream",
            "format": "dectris-v2",
            "endpoint": endpoint,
            "bind": True,
            "curve_secret_key": str(secret_file),
            "curve_allowed_keys": [str(tmp_path / "allowed")],
        }
        config = configuration(tmp_path, [source], log={"level": "debug"})
        with Daemon(config) as daemon:
            daemon.wait_for("ready")
            socket.curve_serverkey = keys.public
            socket.curve_publickey, socket.curve_secretkey = theirs.public, theirs.secret or b""
            socket.connect(endpoint)
            detector = Sender(socket, "dectris-v2")
            send(detector, "ref", Role.REFERENCE, [REFERENCE])
            shape = (REFERENCE.shape[0], REFERENCE.shape[1])
            detector.send(SeriesStart("s", 1.7e9, 5, shape, "uint16", Role.SAMPLE))
            for image_id in (0, 3):
                detector.send(Frame("s", image_id, REFERENCE, 1.7e9))
            detector.send(SeriesEnd("s"))
            missing = daemon.wait_for("images are missing")
            daemon.wait_for("file closed")
            stopped = daemon.stop()
    assert (missing["missing"], missing["ids"]) == (3, "1-2, 4")
    check_account(stopped, written=2, kept=1)
    assert keys.secret is not None
    assert keys.secret.decode() not in json.dumps(daemon.log)
    with h5py.File(tmp_path / "output" / "scan.h5") as file:
        stored = file["entry/configuration/data"][()].decode()
    assert str(secret_file) in stored
    assert keys.secret.decode() not in stored
