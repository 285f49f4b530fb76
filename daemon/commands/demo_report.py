"""What `cade demo` found, beside the truth that the simulation knows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.commands.demo_beamline import DemoOutcome
from daemon.panels import Panel, colour_limits
from daemon.preview import result_panels, save_picture
from simulator.scan import Scan, demo_scan

MOST_EPE_PX = 0.04
"""A third of what answering zero everywhere would cost."""
MOST_PHASE_SHARE = 0.08
"""Phase error over the standard deviation of the true phase. Errors of u below 0.01 px that extend
over a hundred pixels make most of it; answering zero costs 1."""
LEAST_VALID = 0.97


@dataclass(frozen=True, slots=True)
class Comparison:
    """Means over frames; `propagated` are those made by real wave propagation."""

    rows: int
    epe_px: float
    propagated_epe_px: float
    zero_epe_px: float
    phase_rmse_rad: float
    propagated_phase_rmse_rad: float
    phase_std_rad: float
    valid_fraction: float
    stage_seconds: dict[str, float]


def compare(result: Path, shape: tuple[int, int]) -> Comparison:
    """Every row against the truth of the frame whose number it has."""
    import hdf5plugin  # noqa: F401 - registers the bitshuffle filter

    scan = demo_scan(shape)
    with h5py.File(result, "r") as file:
        entry = file["entry"]
        image_ids = entry["frames/image_id"][()]
        rows = len(image_ids)
        table = [_compare_row(entry, row, scan, int(n)) for row, n in enumerate(image_ids)]
        times = {
            name.removesuffix("_time"): float(np.mean(entry["frames"][name][:rows]))
            for name in entry["frames"]
            if name.endswith("_time") and rows
        }
    values = np.array(table).reshape(rows, 5)
    propagated = np.array([scan.propagated(int(n)) for n in image_ids], bool)
    mean = np.nanmean(values, axis=0) if rows else np.full(5, np.nan)
    wave = np.nanmean(values[propagated], axis=0) if propagated.any() else np.full(5, np.nan)
    return Comparison(
        rows=rows,
        epe_px=float(mean[0]),
        propagated_epe_px=float(wave[0]),
        zero_epe_px=float(mean[1]),
        phase_rmse_rad=float(mean[2]),
        propagated_phase_rmse_rad=float(wave[2]),
        phase_std_rad=float(mean[3]),
        valid_fraction=float(mean[4]),
        stage_seconds=times,
    )


def _compare_row(
    entry: Any, row: int, scan: Scan, image_id: int
) -> tuple[float, float, float, float, float]:
    """EPE, EPE of zero, phase RMSE, true phase's standard deviation, share of valid pixels."""
    truth = scan.truth(image_id)
    ux, uy = truth.ux_px.numpy(), truth.uy_px.numpy()
    found_x, found_y = entry["displacement/x"][row], entry["displacement/y"][row]
    valid = np.isfinite(found_x)
    epe = np.hypot(found_x - ux, found_y - uy)[valid].mean()
    zero = np.hypot(ux, uy)[valid].mean()
    phase, true_phase = entry["phase/phase"][row], truth.phase_rad.numpy()
    error = (phase - true_phase)[valid]
    true_phase = true_phase[valid]
    return (
        float(epe), float(zero), float(error.std()), float(true_phase.std()), float(valid.mean())
    )  # fmt: skip


def print_report(outcome: DemoOutcome, found: Comparison) -> None:
    """The table at the end of the demo."""
    rejected = outcome.totals["rejected"]
    reasons = (
        ", ".join(f"{n} {r}" for r, n in sorted(rejected.items()))
        if isinstance(rejected, dict)
        else ""
    )
    shares = ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in found.stage_seconds.items())
    lines = [
        ("frames received", f"{outcome.totals['received']}"),
        ("  kept as references", f"{outcome.totals['kept']}"),
        ("  written", f"{outcome.totals['written']}"),
        ("  rejected", reasons or "none"),
        ("images that never came", f"{outcome.totals['missing']}"),
        ("frames per second", f"{found.rows / outcome.seconds:.2f}"),
        ("mean time per frame", shares),
        ("end-point error", f"{found.epe_px:.4f} px (answering zero: {found.zero_epe_px:.3f} px)"),
        ("  wave-propagated frames", f"{found.propagated_epe_px:.4f} px"),
        ("phase RMSE", f"{found.phase_rmse_rad:.2f} rad (phase std {found.phase_std_rad:.1f} rad)"),
        ("  wave-propagated frames", f"{found.propagated_phase_rmse_rad:.2f} rad"),
        ("valid pixels", f"{found.valid_fraction:.2%}"),
    ]
    sys.stdout.write("\n" + "".join(f"{name:<26}{value}\n" for name, value in lines) + "\n")


def verdict(outcome: DemoOutcome, found: Comparison) -> list[str]:
    """What is not as it must be; empty where all is well."""
    totals, expected = outcome.totals, outcome.expected
    rejected = {str(reason): count for reason, count in expected.rejected.items()}
    share = found.propagated_phase_rmse_rad / found.phase_std_rad
    checks = [
        (found.rows == outcome.rows, f"{found.rows} rows instead of {outcome.rows}"),
        (totals["written"] == outcome.rows, f"the daemon counts {totals['written']} written"),
        (totals["kept"] == outcome.references, f"{totals['kept']} references were kept"),
        (totals["rejected"] == rejected, f"{totals['rejected']} rejected instead of {rejected}"),
        (totals["missing"] == expected.missing, f"{totals['missing']} missing images"),
        (totals["waiting"] == 0, f"{totals['waiting']} frames unaccounted for"),
        (found.epe_px <= MOST_EPE_PX, f"end-point error above {MOST_EPE_PX} px"),
        (found.propagated_epe_px <= MOST_EPE_PX, f"propagated frames above {MOST_EPE_PX} px"),
        (share <= MOST_PHASE_SHARE, f"phase error is {share:.1%} of the phase"),
        (found.valid_fraction >= LEAST_VALID, f"only {found.valid_fraction:.1%} valid pixels"),
    ]
    return [problem for good, problem in checks if not good]


def save_demo_picture(result: Path, path: Path, shape: tuple[int, int]) -> None:
    """The first frame, which is wave-propagated: sample, fields, and phase beside its truth."""
    scan = demo_scan(shape)
    truth: NDArray[Any] = scan.truth(0).phase_rad.numpy()
    panels = result_panels(result, 0)
    phase = next(panel for panel in panels if panel.title == "phase")
    true_phase = truth - truth[np.isfinite(phase.image)].mean()
    limits = colour_limits(true_phase, "sequential")
    shown = [Panel("sample", scan.sample(0).astype(float), "counts", "grey")]
    shown += [panel for panel in panels if panel is not phase]
    shown += [
        Panel("phase", phase.image, "rad", limits=limits),
        Panel("true phase", true_phase, "rad", limits=limits),
    ]
    save_picture(shown, path)
