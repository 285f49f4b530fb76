"""The conventional trackers beside those that others publish, on the same frames in the same run.

4-px speckle, visibility 0.25, shifted by 0.3 px along x, T 0.9, N0 = 1e4: accuracy, and pixels per
CPU-second. Every tracker takes its turn in every round on one thread, and its best round counts.

The others are algotom and spexwavepy (both on PyPI). They stay out of CADE's environment: name the
Python of an environment that has them with --peers, or have them in this one. What is missing is
left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cade.errors import CadeError
from models.umpa_tracker import UmpaTracker
from models.zncc_tracker import ZnccTracker
from simulator.detector import expose

RESULTS = Path(__file__).with_name("peers.json")
FWHM_PX = 4.0
VISIBILITY = 0.25
SHIFT_PX = 0.3
TRANSMISSION = 0.9
COUNTS = 1e4
BORDER_PX = 16
"""Beside the border nothing is compared: some of the others leave it out."""
GOALS = {"umpa": ("algotom", 8.0, 0.016), "zncc": ("spexwavepy", 10.0, 0.020)}
"""The peer, how many times its speed, and the largest RMSE in px."""
THEIRS = """
import json, sys, time
import numpy as np
name, path, window, reach = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
frames = np.load(path)
reference, sample = frames["reference"], frames["sample"]
if name.startswith("algotom"):
    from algotom.util.correlation import find_local_shifts, find_local_shifts_umpa
    umpa = name == "algotom umpa"
    def track():
        if umpa:
            pair = reference[None], sample[None]
            found = find_local_shifts_umpa(*pair, window, reach, gpu=False, ncore=1)
        else:
            found = find_local_shifts(reference, sample, 2, window, reach, ncore=1)
        return found[0], found[1]
else:
    from spexwavepy.imstackfun import Imagestack
    from spexwavepy.trackfun import Tracking
    def stack(image):
        images = Imagestack(".", [0, 0, 0, 0])
        images.data = images.rawdata = image[None].astype(np.float32)
        return images
    def track():
        tracking = Tracking(stack(sample), stack(reference))
        tracking.dimension, tracking.mempos, tracking.scandim = "2D", "downstream", "x"
        tracking.pixsize = tracking.dist = tracking.scanstep = 1.0
        tracking.subpixelmeth = "gausspeak" if name.endswith("gaussian") else "default"
        tracking.XST_withrefer(reach, reach, reach, reach, window, window, verbose=False)
        return tracking.delayX, tracking.delayY
real = sys.stdout
sys.stdout = sys.stderr
track()  # compiles
start = time.process_time()
found = track()
seconds = time.process_time() - start
inner = [np.asarray(u, float)[16:-16, 16:-16] for u in found]
json.dump({"seconds": seconds, "pixels": int(np.size(found[0])),
           "rmse": [float(np.sqrt(np.mean((np.abs(u) - t) ** 2)))
                    if t else float(np.sqrt(np.mean(u**2))) for u, t in zip(inner, (0.3, 0.0))]},
          real)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One tracker on the pair."""

    tracker: str
    window_px: int
    px_per_cpu_s: float
    rmse_x_px: float
    rmse_y_px: float


def speckle(side_px: int, seed: int) -> torch.Tensor:
    """A periodic pattern of mean one `(2 side, 2 side)`, at two samples a pixel."""
    generator = torch.Generator().manual_seed(seed)
    sigma_px = FWHM_PX / 2.3548 / 2**0.5  # of the blur; the autocorrelation is √2 wider
    fy = torch.fft.fftfreq(2 * side_px, 0.5)[:, None]
    fx = torch.fft.rfftfreq(2 * side_px, 0.5)[None, :]
    kept = torch.exp(-2 * (torch.pi * sigma_px) ** 2 * (fy.square() + fx.square()))
    noise = torch.randn((2 * side_px, 2 * side_px), generator=generator)
    grains = torch.fft.irfft2(torch.fft.rfft2(noise) * kept)
    contrast: torch.Tensor = VISIBILITY * (grains / grains.std()).clamp(-3.8, 3.8)
    return 1 + contrast


def frames(side_px: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference and sample `(side, side)` in counts."""
    pattern = speckle(side_px, seed)
    phase = torch.exp(-2j * torch.pi * torch.fft.rfftfreq(2 * side_px, 0.5) * SHIFT_PX)
    moved = torch.fft.irfft2(torch.fft.rfft2(pattern) * phase, s=(2 * side_px, 2 * side_px))
    generator = torch.Generator().manual_seed(seed + 1)
    images = (pattern[::2, ::2], TRANSMISSION * moved[::2, ::2])
    reference, sample = (expose(image, COUNTS, generator) * COUNTS for image in images)
    return reference, sample


def ours(
    reference: torch.Tensor, sample: torch.Tensor, window: int, reach: int, rounds: int
) -> list[Row]:
    """Trackers as users load them, made anew for every round: nothing of a reference is kept."""
    device = torch.device("cpu")
    makers: dict[str, Callable[[], UmpaTracker | ZnccTracker]] = {
        "umpa": lambda: UmpaTracker(device, window, reach),
        "umpa, box": lambda: UmpaTracker(device, window, reach, kind="box"),
        "zncc": lambda: ZnccTracker(device, window, reach),
        "zncc, interpolated": lambda: ZnccTracker(device, window, reach, fit="interpolated"),
    }
    best = dict.fromkeys(makers, float("inf"))
    errors = {}
    for _ in range(rounds):
        for name, make in makers.items():
            tracker = make()
            start = time.process_time()
            found = tracker.track(reference, sample)
            best[name] = min(best[name], time.process_time() - start)
            inner = (slice(BORDER_PX, -BORDER_PX),) * 2
            pair = ((found.ux_px, SHIFT_PX), (found.uy_px, 0.0))
            errors[name] = [float((u[inner] - t).square().nanmean().sqrt()) for u, t in pair]
    return [
        Row(name, window, sample.numel() / best[name], errors[name][0], errors[name][1])
        for name in makers
    ]


def theirs(
    python: str, pair: tuple[NDArray[np.float32], NDArray[np.float32]], window: int, reach: int
) -> tuple[list[Row], list[str]]:
    """Trackers of others, and a line for each that does not run."""
    rows, missing = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.npz"
        np.savez(path, reference=pair[0], sample=pair[1])
        names = ("algotom", "algotom umpa", "spexwavepy", "spexwavepy, gaussian")
        for name in names:
            words = [python, "-c", THEIRS, name, str(path), str(window), str(reach)]
            done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                missing.append(f"{name} is left out: {last}")
                continue
            found = json.loads(done.stdout)
            rate = found["pixels"] / found["seconds"]
            rows.append(Row(name, window, rate, found["rmse"][0], found["rmse"][1]))
    return rows, missing


def verdicts(rows: Sequence[Row]) -> list[str]:
    """What was asked of each tracker, and what it does."""
    lines = []
    for name, (peer, times, rmse_px) in GOALS.items():
        row = next(r for r in rows if r.tracker == name)
        worst = max(row.rmse_x_px, row.rmse_y_px)
        line = f"{name}: RMSE {worst:.4f} px (at most {rmse_px:g})"
        rates = [r.px_per_cpu_s for r in rows if r.tracker.startswith(peer)]
        if rates:
            ratio = row.px_per_cpu_s / max(rates)
            line += f", {ratio:.1f} × the speed of {peer} (at least {times:g})"
        lines.append(line)
    return lines


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    lines = [f"{'tracker':<24}{'window':>8}{'kpx/CPU-s':>12}{'RMSE x':>10}{'RMSE y':>10}"]
    lines += [
        f"{r.tracker:<24}{r.window_px:>8}{r.px_per_cpu_s / 1e3:>12.1f}{r.rmse_x_px:>10.4f}"
        f"{r.rmse_y_px:>10.4f}"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def options_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    add = parser.add_argument
    add("--peers", default=sys.executable, metavar="PYTHON", help="that has the other packages")
    add("--side", type=int, default=256, metavar="PX", help="frame side (256)")
    add("--window", type=int, default=15, metavar="PX", help="window of all (15)")
    add("--reach", type=int, default=3, metavar="PX", help="search range of all (3)")
    add("--rounds", type=int, default=3, metavar="N", help="rounds of ours (3)")
    add("--output", type=Path, default=RESULTS, metavar="FILE", help="results as JSON")
    return parser.parse_args(words)


def main() -> int:
    """Measure, print, write."""
    options = options_of()
    torch.set_num_threads(1)
    pair = frames(options.side, seed=1)
    try:
        rows = ours(*pair, options.window, options.reach, options.rounds)
    except CadeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    arrays = pair[0].numpy(), pair[1].numpy()
    others, missing = theirs(options.peers, arrays, options.window, options.reach)
    rows += others
    lines = missing + verdicts(rows)
    sys.stdout.write(table(rows) + "".join(f"{line}\n" for line in lines))
    if others:  # without them there is nothing to compare with, and an earlier run's table stays
        content = {"side_px": options.side, "rows": [asdict(row) for row in rows], "notes": lines}
        options.output.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
