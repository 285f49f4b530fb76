"""The trainer: fresh pairs for every batch, checkpoints that resume, an averaged network."""

from __future__ import annotations

import csv
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cade.errors import CadeError, UsageError
from models.architectures import build_network, channels_last
from models.loss import end_point_error, multiscale_loss
from models.normalisation import normalise
from models.recipe import Recipe, recipe_table
from simulator.deformation import PAPER, DeformationSettings
from simulator.pairs import PairSample, PairSettings, make_pairs
from simulator.pattern import reference_pattern, reference_patterns

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
PATTERNS = "patterns.npy"
LOG_EVERY = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `epe_px` is the mean over the last `LOG_EVERY` batches."""

    step: int
    steps: int
    loss: float
    epe_px: float
    rate: float
    seconds: float


def pair_settings(recipe: Recipe) -> PairSettings:
    """What the recipe draws its pairs from."""
    data = recipe.data
    return PairSettings(
        visibility=data.visibility,
        counts=data.counts,
        transmission=data.transmission,
        focusing=data.focusing,
        deformation=PAPER if data.deformation == "paper" else DeformationSettings(),
    )


def training_limits(recipe: Recipe) -> list[str]:
    """What the network has seen, in words: outside of it nothing is promised."""
    settings = pair_settings(recipe)
    deformation = settings.deformation
    reach = max(deformation.wide_px if deformation.wide else 1.0, deformation.constant_px)
    visibility = "their own visibility"
    if settings.visibility is not None:
        visibility = "visibility {:.0%} to {:.0%}".format(*settings.visibility)
    return [
        f"displacements up to {reach} px",
        "speckles of 1.9 to 8 px FWHM, " + visibility,
        "transmission {:.0%} to {:.0%}".format(*settings.transmission),
        "{:.0f} to {:.0f} mean counts per pixel".format(*settings.counts),
    ]


def training_patterns(recipe: Recipe, folder: Path) -> torch.Tensor:
    """The recipe's reference patterns, made once and kept in `folder`, float16.

    Raises:
        CadeError: they cannot be written.
    """
    path = folder / PATTERNS
    stored = _stored_patterns(recipe, path)
    if stored is not None:
        return stored
    size = recipe.data.pattern_px
    patterns = reference_patterns(recipe.data.patterns, (size, size), recipe.seed).half()
    partial = path.with_suffix(".part.npy")
    try:
        np.save(partial, patterns.numpy())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CadeError(f"patterns {path} cannot be written: {error}; free some space") from None
    return patterns


def _stored_patterns(recipe: Recipe, path: Path) -> torch.Tensor | None:
    """What an earlier run left, if it is whole and what this recipe asks for."""
    size = recipe.data.pattern_px
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if stored.shape != (recipe.data.patterns, 2 * size, 2 * size):
        return None
    first = reference_pattern(0, (size, size), recipe.seed)
    same = np.allclose(stored[0].astype(np.float32), first.numpy(), atol=1e-2)
    return torch.from_numpy(stored) if same else None


def rate_factor(progress: float, warm_up: float) -> float:
    """Learning rate over its maximum: linear warm-up, then half a cosine to zero."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm_up) / (1 - warm_up))))


class Trainer:
    """One training run in one folder; `run` continues from the folder's checkpoint if asked."""

    def __init__(self, recipe: Recipe, folder: Path, *, device: str = "cpu") -> None:
        self.recipe = recipe
        self.folder = folder
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.network.architecture, recipe.network.options)
        self.network = channels_last(network, self.device)
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(recipe.optimiser.average),  # type: ignore[no-untyped-call]
        )
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=recipe.optimiser.rate,
            weight_decay=recipe.optimiser.weight_decay,
        )
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        self.step = 0
        self.seconds = 0.0

    def run(
        self,
        *,
        minutes: float | None = None,
        resume: bool = False,
        report: Callable[[Progress], None] = lambda _: None,
        checkpoint_s: float = 120.0,
    ) -> None:
        """Train to the end of the schedule.

        With `minutes` the schedule is fitted to that time instead of to the recipe's steps.
        """
        self._enter(resume)
        patterns = training_patterns(self.recipe, self.folder).to(self.device)
        settings = pair_settings(self.recipe)
        steps = self.recipe.optimiser.steps
        began, saved = time.monotonic() - self.seconds, time.monotonic()
        losses: list[tuple[float, float]] = []
        while True:
            self.seconds = time.monotonic() - began
            progress = self.seconds / (60 * minutes) if minutes else self.step / steps
            if progress >= 1:
                break
            losses.append(self._train_step(patterns, settings, progress))
            if len(losses) == LOG_EVERY:
                total = round(self.step / progress) if minutes and progress else steps
                report(self._log(losses, total))
                losses = []
            if time.monotonic() - saved > checkpoint_s:
                self.save()
                saved = time.monotonic()
        self.save()

    def _enter(self, resume: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = self.folder / CHECKPOINT
        if resume and checkpoint.exists():
            self._load(checkpoint)
            self._cut_log()
        elif checkpoint.exists():
            raise UsageError(
                f"{self.folder} holds a training run already: continue it with --resume, "
                f"or choose another folder"
            )

    def _cut_log(self) -> None:
        """Drop the rows that were logged after the checkpoint: those steps are done again."""
        path = self.folder / LOG
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            kept = [row for row in lines[1:] if int(row.split(",")[0]) <= self.step]
            path.write_text("".join(lines[:1] + kept))

    def _train_step(
        self, patterns: torch.Tensor, settings: PairSettings, progress: float
    ) -> tuple[float, float]:
        options = self.recipe.optimiser
        crop = (self.recipe.data.crop_px, self.recipe.data.crop_px)
        batch = make_pairs(patterns, options.batch, crop, settings, self.generator)
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate * rate_factor(progress, options.warm_up)
        loss, epe = self._loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        slope = torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.clip)
        if not (torch.isfinite(loss) and torch.isfinite(slope)):  # the weights are still good
            raise CadeError(
                f"training {self.recipe.name}: at step {self.step} the loss is {loss.item()}, its "
                f"gradient {slope.item()}; lower optimiser.rate in the recipe and start again, "
                f"or continue with --resume if {self.folder} holds a checkpoint"
            )
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach()), float(epe)

    def _loss(self, batch: PairSample) -> tuple[torch.Tensor, torch.Tensor]:
        options = self.recipe.optimiser
        pair = normalise(batch.reference, batch.sample)
        estimates = self.network(pair.reference[:, None], pair.sample[:, None])
        loss = multiscale_loss(
            estimates,
            batch.displacement_px,
            options.loss_weights,
            options.reduction,
            options.sigma_weight,
        )
        epe = end_point_error(estimates[-1].u_px.detach(), batch.displacement_px).mean()
        return loss, epe

    def _log(self, losses: list[tuple[float, float]], steps: int) -> Progress:
        loss, epe = (sum(column) / len(losses) for column in zip(*losses, strict=True))
        rate = float(self.optimiser.param_groups[0]["lr"])
        row = Progress(self.step, steps, loss, epe, rate, self.seconds)
        path = self.folder / LOG
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "loss", "epe_px", "rate", "seconds"])
            writer.writerow(
                [row.step, f"{loss:.5f}", f"{epe:.5f}", f"{rate:.3g}", f"{self.seconds:.1f}"]
            )
        return row

    def save(self) -> None:
        """Write the checkpoint in one piece: a kill leaves the old one or the new one."""
        state = {
            "recipe": recipe_table(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self.folder / f"{CHECKPOINT}.part"
        try:
            torch.save(state, partial)
            partial.replace(self.folder / CHECKPOINT)
        except (OSError, RuntimeError) as error:  # PyTorch's writer raises the latter
            partial.unlink(missing_ok=True)
            first = str(error).splitlines()[0]
            raise CadeError(
                f"checkpoint {self.folder / CHECKPOINT} cannot be written: {first}; free some "
                f"space and continue with --resume"
            ) from None

    def restore(self) -> None:
        """Take over the folder's checkpoint.

        Raises:
            CadeError: there is none, or it belongs to another recipe.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            raise CadeError(f"{self.folder}: there is no {CHECKPOINT} to take weights from")
        self._load(path)

    def _load(self, path: Path) -> None:
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CadeError(
                f"checkpoint {path} cannot be read, start again in another folder: {first}"
            ) from None
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.generator.set_state(state["generator"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            first = str(error).splitlines()[0]
            raise CadeError(
                f"checkpoint {path} does not belong to recipe {self.recipe.name!r}: {first}"
            ) from None

    def result(self) -> torch.nn.Module:
        """The averaged network, in evaluation mode."""
        module: torch.nn.Module = self.average.module
        return module.eval()
