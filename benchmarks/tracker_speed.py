"""How fast the trackers and the phase integration are, beside each other in one run.

Pixels per second depend on the machine and on what else it does; the ratios much less. So every job
takes its turn in every round, and a job's best round counts. `make bench` runs this.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from cade import CadeError, Geometry, PhaseIntegrator, Refraction, __version__
from cade.interpolation import warp
from models import load_tracker
from models.architectures import build_network, channels_last
from models.registry import choose_device
from simulator.pattern import at_pixels, reference_pattern

Job = Callable[[], object]

RESULTS = Path(__file__).with_name("results.json")
YARDSTICK = "zncc"
"""The tracker that the ratios are relative to."""
PATTERN_PX = 128
COUNTS = 1000.0
SHIFT_PX = 0.3
GEOMETRY = Geometry(energy_ev=30e3, distance_m=2.0, pixel_size_m=12e-6, source_distance_m=1.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One job at one size. `ratio` is its speed over that of `YARDSTICK` in the same run."""

    job: str
    side_px: int
    seconds: float
    px_per_s: float
    ratio: float


def frames(side_px: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference and sample `(side, side)` in counts: one periodic pattern, a smooth shift."""
    pattern = at_pixels(reference_pattern(0, (PATTERN_PX, PATTERN_PX), seed=3))
    times = -(-side_px // PATTERN_PX)
    reference = pattern.repeat(times, times)[None, :side_px, :side_px]
    phase = torch.linspace(0, 6.0, side_px)
    u = SHIFT_PX * torch.sin(phase[None, :, None] + phase[None, None, :])
    sample = warp(reference, u, u)
    generator = torch.Generator().manual_seed(4)
    counted = [torch.poisson(COUNTS * image[0], generator) for image in (reference, sample)]
    return counted[0].to(device), counted[1].to(device)


def tracker_jobs(
    side_px: int, device: torch.device, weights: str, window: int
) -> tuple[dict[str, Job], list[str]]:
    """The trackers as users call them, and a line for each that cannot be loaded."""
    reference, sample = frames(side_px, device)
    jobs: dict[str, Job] = {}
    missing = []
    for name in ("cade", "zncc", "umpa"):
        try:
            tracker = load_tracker(name, device=str(device), weights=weights, window=window)
        except CadeError as error:
            missing.append(f"{name} is left out: {error}")
            continue
        jobs[name] = lambda tracker=tracker: tracker.track(reference, sample)  # type: ignore[misc]
    return jobs, missing


def network_job(side_px: int, device: torch.device, width: float) -> Job:
    """A bare forward pass of StrainNet-f with fresh weights: no normalisation, no validity."""
    network = channels_last(build_network("strainnet-f", {"width": width}), device).eval()
    reference, sample = (image[None, None] / COUNTS for image in frames(side_px, device))

    def forward() -> object:
        with torch.inference_mode():
            return network(reference, sample)

    return forward


def phase_jobs(side_px: int, device: torch.device) -> dict[str, Job]:
    """Integration of a full frame, and of one with a hole, which needs iterations."""
    generator = torch.Generator().manual_seed(5)
    angles = 1e-6 * torch.randn((2, 1, side_px, side_px), generator=generator)
    whole = angles.to(device)
    holed = whole.clone()
    holed[..., side_px // 4 : side_px // 2, side_px // 4 : side_px // 2] = torch.nan
    integrator = PhaseIntegrator((side_px, side_px), device)
    return {
        "phase": lambda: integrator(Refraction(whole[0], whole[1]), GEOMETRY),
        "phase, with a hole": lambda: integrator(Refraction(holed[0], holed[1]), GEOMETRY),
    }


def best_seconds(jobs: dict[str, Job], rounds: int, device: torch.device) -> dict[str, float]:
    """Each job's shortest time; the first round warms up and does not count."""
    best = dict.fromkeys(jobs, float("inf"))
    for number in range(rounds + 1):
        for name, job in jobs.items():
            _wait(device)
            began = time.perf_counter()
            job()
            _wait(device)
            if number > 0:
                best[name] = min(best[name], time.perf_counter() - began)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(options: argparse.Namespace, device: torch.device) -> list[Row]:
    """All jobs at all sizes."""
    rows: list[Row] = []
    for side_px in options.sides:
        jobs, missing = tracker_jobs(side_px, device, options.weights, options.window)
        for line in missing if side_px == options.sides[0] else ():
            sys.stderr.write(f"{line}\n")
        jobs[f"strainnet-f × {options.width:g}, forward"] = network_job(
            side_px, device, options.width
        )
        seconds = best_seconds(jobs | phase_jobs(side_px, device), options.rounds, device)
        rows += [
            Row(name, side_px, s, side_px**2 / s, seconds[YARDSTICK] / s)
            for name, s in seconds.items()
        ]
    return rows


def machine(device: torch.device) -> dict[str, str | int]:
    """What the numbers hold for."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cade": __version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    lines = [f"{'job':<30}{'side px':>8}{'ms':>12}{'Mpx/s':>10}{'× ' + YARDSTICK:>10}"]
    lines += [
        f"{r.job:<30}{r.side_px:>8}{1e3 * r.seconds:>12.1f}{r.px_per_s / 1e6:>10.3f}"
        f"{r.ratio:>10.2f}"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def options_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    add = parser.add_argument
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda …")
    add("--weights", default="cade", metavar="NAME|FILE", help="weights of the cade tracker")
    add("--window", type=int, default=15, metavar="PX", help="window of zncc and umpa (15)")
    add("--width", type=float, default=0.25, metavar="W", help="of StrainNet-f (0.25)")
    add("--sides", type=int, nargs="+", default=[256, 512, 1024], metavar="PX", help="frame sides")
    add("--rounds", type=int, default=3, metavar="N", help="rounds that count (3)")
    add("--output", type=Path, default=RESULTS, metavar="FILE", help="results as JSON")
    options = parser.parse_args(words)
    if options.rounds < 1 or min(options.sides) < 32:
        parser.error("--rounds must be at least 1, and every side at least 32")
    return options


def main() -> int:
    """Measure, print, write."""
    options = options_of()
    device = choose_device(options.device)
    rows = measure(options, device)
    about = machine(device)
    sys.stdout.write(table(rows) + ", ".join(f"{k} {v}" for k, v in about.items()) + "\n")
    content = {"machine": about, "rows": [asdict(row) for row in rows]}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(f"written: {options.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
