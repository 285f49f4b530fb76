"""A large frame within the memory that is promised, torch and the writer included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the bitshuffle filter
import numpy as np

from tests.speckle import counts, moved, speckle

ROOT = Path(__file__).parents[2]
SIDE = 2048
MOST_KB = 3_000_000
# VmHWM is this program's own peak; ru_maxrss would begin with that of the process that forked it.
RUN = """
import sys
from pathlib import Path
from daemon.commands import main
code = main(sys.argv[1:])
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
sys.exit(code)
"""


def test_process_takes_less_than_3_gb_for_2048_pixels_square(tmp_path: Path) -> None:
    tile = speckle((512, 512))
    for name, image in (("reference", tile), ("sample", moved(tile, 0.4, 0.0))):
        np.save(tmp_path / f"{name}.npy", np.tile(counts(image), (SIDE // 512, SIDE // 512)))
    output = tmp_path / "scan.h5"
    words = ["process", "--reference", "reference.npy", "--sample", "sample.npy"]
    words += ["--energy-kev", "25", "--distance-m", "0.7", "--pixel-um", "6.5"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words, "--output", str(output)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < MOST_KB
    with h5py.File(output) as file:
        ux = file["entry/displacement/x"][()]
    assert ux.shape == (1, SIDE, SIDE)
    assert abs(float(np.nanmean(ux)) - 0.4) < 0.01
    assert float(np.nanstd(ux)) < 0.05  # and no seam between tiles
