"""The trainer: fresh pairs for every batch, checkpoints that resume, an averaged network."""

from __future__ import annotations

import csv
import math
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
from simulator.pattern import reference_patterns

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


def training_patterns(recipe: Recipe, folder: Path) -> torch.Tensor:
    """The recipe's reference patterns, made once and kept in `folder`, float16."""
    path = folder / PATTERNS
    size = recipe.data.pattern_px
    shape = (recipe.data.patterns, 2 * size, 2 * size)
    if path.exists():
        stored = np.load(path, allow_pickle=False)
        if stored.shape == shape:
            return torch.from_numpy(stored)
    patterns = reference_patterns(recipe.data.patterns, (size, size), recipe.seed).half()
    partial = path.with_suffix(".part.npy")
    np.save(partial, patterns.numpy())
    partial.replace(path)
    return patterns


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
        elif checkpoint.exists():
            raise UsageError(
                f"{self.folder} holds a training run already: continue it with --resume, "
                f"or choose another folder"
            )

    def _train_step(
        self, patterns: torch.Tensor, settings: PairSettings, progress: float
    ) -> tuple[float, float]:
        options = self.recipe.optimiser
        crop = (self.recipe.data.crop_px, self.recipe.data.crop_px)
        batch = make_pairs(patterns, options.batch, crop, settings, self.generator)
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate * rate_factor(progress, options.warm_up)
        loss, epe = self._loss(batch)
        if not torch.isfinite(loss):
            raise CadeError(
                f"training {self.recipe.name}: the loss is {loss.item()} at step {self.step}; "
                f"lower optimiser.rate and continue from {self.folder / CHECKPOINT}"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.clip)
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
        partial = self.folder / f"{CHECKPOINT}.part"
        torch.save(
            {
                "recipe": recipe_table(self.recipe),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generator": self.generator.get_state(),
                "step": self.step,
                "seconds": self.seconds,
            },
            partial,
        )
        partial.replace(self.folder / CHECKPOINT)

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
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.generator.set_state(state["generator"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except (RuntimeError, KeyError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise CadeError(
                f"checkpoint {path} does not belong to recipe {self.recipe.name!r}: {first}"
            ) from None

    def result(self) -> torch.nn.Module:
        """The averaged network, in evaluation mode."""
        module: torch.nn.Module = self.average.module
        return module.eval()
