"""One training run in one folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from cade.errors import CadeError, UsageError
from models.architectures import build_network, channels_last
from models.loss import end_point_error, multiscale_loss
from models.recipe import OptimiserRecipe, Recipe
from models.training.average import Average
from models.training.beginning import CLAIM_ALONE, choose_learning, initial_weights
from models.training.checkpoint import foreign, read_checkpoint, write_checkpoint
from models.training.clock import Clock
from models.training.execution import (
    Model,
    compiled,
    estimate,
    runs_in_bfloat16,
    tune,
    wants_compiling,
)
from models.training.log import LOG_EVERY, Progress
from models.training.muon import Muon
from models.training.processes import ALONE, Processes
from models.training.recipe_source import recipe_source
from models.training.schedule import rate_factor
from models.training.sources import PairSource
from models.training.tally import MOST_BAD_STEPS, Sums, Tally
from models.training.watch import Reports, Watch
from simulator.pairs import PairSample

CHECKPOINT = "checkpoint.pt"


class Trainer:
    """A run of a recipe with its files in a folder; `run` continues it if asked.

    Args:
        recipe: what the result depends on.
        folder: checkpoint, log, patterns and picture.
        device: where to compute.
        source: the pairs, instead of those of the recipe's simulated patterns.
        initial: shipped name or .safetensors file of the weights to begin with, not fresh ones.
        processes: who else computes this run (`models.training.processes`).

    Raises:
        UsageError: `initial` is of another architecture or has other options; the processes cannot
            share a batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        device: torch.device | str = "cpu",
        source: PairSource | None = None,
        initial: str | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.device = torch.device(device)
        self.source = source
        self.processes = processes
        self.shards = processes.shards(recipe.optimiser.shards)
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.network.architecture, recipe.network.options)
        if initial is not None:
            network.load_state_dict(initial_weights(network, recipe, initial))
        choose_learning(network, recipe.optimiser.learns)
        # A claim is about the answer as it is given: of the last pass, averaged over all views.
        network.train(recipe.optimiser.learns != CLAIM_ALONE)
        self.network = channels_last(network, self.device)
        self.average = Average(self.network, recipe.optimiser.average)
        self.optimiser = _optimiser(self.network, recipe.optimiser)
        self.tally = Tally(self.device)
        self.bfloat16 = runs_in_bfloat16(recipe.machine, self.device)
        self.step = 0
        self.seconds = 0.0

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def run(
        self,
        *,
        minutes: float | None = None,
        resume: bool = False,
        report: Callable[[Progress], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
        checkpoint_s: float = 120.0,
        picture_s: float = 600.0,
        pause_s: float | None = None,
    ) -> bool:
        """Train to the end of the schedule; False if the run was paused before.

        Args:
            minutes: the schedule is fitted to that time instead of to the recipe's steps.
            resume: continue from the folder's checkpoint, if there is one.
            report: gets the progress every `LOG_EVERY` steps, on the leading process.
            warn: gets a line about what is not as it should be, on the leading process.
            checkpoint_s: seconds between checkpoints.
            picture_s: seconds between pictures of predictions.
            pause_s: stop after so many seconds and at least one step, to be continued with
                `resume`.

        Raises:
            UsageError: the folder holds a run already, and `resume` is not set.
            CadeError: a checkpoint that belongs to something else; files that cannot be written;
                losses that are no finite numbers, one step after the other.
        """
        self._enter(resume)
        source = self.source or recipe_source(self.recipe, self.folder, self.device, self.processes)
        model = self.ready_model(source, warn)
        watch = None
        if self.processes.leads:
            watch = Watch(self, source, Reports(report, warn, checkpoint_s, picture_s))
        try:
            return self._loop(model, source, watch, minutes, pause_s)
        finally:
            if watch:
                watch.close()

    def _loop(
        self,
        model: Model,
        source: PairSource,
        watch: Watch | None,
        minutes: float | None,
        pause_s: float | None,
    ) -> bool:
        clock, first = Clock(self.seconds), self.step
        while True:
            self.seconds, progress, pause = self._stand(clock, minutes, pause_s)
            if progress >= 1 or (pause and self.step > first):
                break
            self.train_step(model, source, progress)
            if self.step % LOG_EVERY == 0:
                sums = self._checked(self.tally.read(self.processes))
                if watch:
                    total = self.step / max(progress, 1e-9) if minutes else self.recipe.steps
                    watch.progress(sums, round(total))
            if watch:
                watch.between_steps()
        sums = self._checked(self.tally.look(self.processes))
        if watch:
            watch.skipped(sums)
            watch.end()
        return progress >= 1

    def _stand(
        self, clock: Clock, minutes: float | None, pause_s: float | None
    ) -> tuple[float, float, bool]:
        """Seconds, progress through the schedule, whether to pause: the same on all processes."""
        seconds, here_s = clock.total_s, clock.here_s
        if minutes is not None or pause_s is not None:
            seconds, here_s = self.processes.from_leader((seconds, here_s))
        progress = seconds / (60 * minutes) if minutes else self.step / self.recipe.steps
        return seconds, progress, pause_s is not None and here_s >= pause_s

    def _checked(self, sums: Sums) -> Sums:
        if sums.in_a_row >= MOST_BAD_STEPS:
            raise CadeError(
                f"training {self.recipe.name}: before step {self.step} the loss or its gradient "
                f"was no finite number in {sums.in_a_row} steps in a row; lower optimiser.rate "
                f"(now {self.recipe.optimiser.rate:g}) in the recipe and start again, or continue "
                f"with --resume if {self.folder} holds a checkpoint"
            )
        return sums

    def train_step(self, model: Model, source: PairSource, progress: float) -> None:
        """One step, without waiting for the device; `progress` (0 to 1) sets the rate."""
        options = self.recipe.optimiser
        batch = source.batch(self.step, self.shards)
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate * rate_factor(progress, options)
        self.optimiser.zero_grad(set_to_none=True)
        loss, epe_px = self.loss(model, batch)
        # A loss that is no finite number shall show in the gradient, which all processes share.
        loss.backward(torch.where(torch.isfinite(loss), 1.0, math.nan))  # type: ignore[no-untyped-call]
        slope = torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.clip or math.inf)
        bad = (~torch.isfinite(slope)).float()
        # Where it is 1 the optimiser skips the step, and the host need not ask; as in GradScaler.
        setattr(self.optimiser, "found_inf", bad)  # noqa: B010
        self.optimiser.step()
        self.step += 1
        self.average.update(self.network, self.step)
        self.tally.add(loss.detach(), epe_px, bad)

    def loss(self, model: Model, batch: PairSample) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the mean end-point error in px of a batch."""
        options = self.recipe.optimiser
        estimates = estimate(model, batch.reference, batch.sample, bfloat16=self.bfloat16)
        loss = multiscale_loss(
            estimates,
            batch.displacement_px,
            options.loss_weights,
            options.reduction,
            options.sigma_weight,
            options.error_power,
        )
        epe = end_point_error(estimates[-1].u_px.detach(), batch.displacement_px).mean()
        return loss, epe

    def ready_model(self, source: PairSource, warn: Callable[[str], None]) -> Model:
        """The network as it is to be computed: compiled, and shared by all processes."""
        tune(self.device)
        model: Model = self.network
        if wants_compiling(self.recipe.machine, self.device):
            quiet = warn if self.processes.leads else lambda _: None

            def attempt(model: Model) -> None:
                self.loss(model, source.batch(0, self.shards))[0].backward()  # type: ignore[no-untyped-call]

            model = compiled(self.network, attempt, quiet)
        if self.processes.count > 1:
            own = [self.device] if self.device.type == "cuda" else None
            model = DistributedDataParallel(model, device_ids=own, gradient_as_bucket_view=True)
        return model

    def _enter(self, resume: bool) -> None:
        state: dict[str, Any] | None = None
        checkpoint = self.folder / CHECKPOINT
        if self.processes.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            if resume and checkpoint.exists():
                state = read_checkpoint(checkpoint, self.recipe)
            elif checkpoint.exists():
                raise UsageError(
                    f"{self.folder} holds a training run already: continue it with --resume, "
                    f"or choose another folder"
                )
        state = self.processes.from_leader(state)
        if state is not None:
            self._take_over(state)

    def save(self) -> None:
        """Write the checkpoint in one piece: a kill leaves the old one or the new one.

        There is no generator in it: all that is random follows from the seed and the step.
        """
        state = {
            "network": self.network.state_dict(),
            "average": self.average.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "tally": self.tally.sums,
            "step": self.step,
            "seconds": self.seconds,
        }
        write_checkpoint(self.folder / CHECKPOINT, self.recipe, state)

    def restore(self) -> None:
        """Take over the folder's checkpoint.

        Raises:
            CadeError: there is none, or it belongs to another recipe.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            raise CadeError(f"{self.folder}: there is no {CHECKPOINT} to take weights from")
        self._take_over(read_checkpoint(path, self.recipe))

    def _take_over(self, state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.average.module.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.tally.sums = state["tally"].to(self.device)
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            first = str(error).splitlines()[0]
            raise foreign(self.folder / CHECKPOINT, self.recipe, first) from None

    def result(self) -> torch.nn.Module:
        """The averaged network, in evaluation mode."""
        return self.average.module.eval()


def _optimiser(network: torch.nn.Module, options: OptimiserRecipe) -> torch.optim.Optimizer:
    """All of these leave everything as it is where `found_inf` says so."""
    if options.kind == "muon":
        return Muon(network, lr=options.rate, weight_decay=options.weight_decay)
    # Adam's weight decay is part of the gradient, AdamW's is not.
    kind = torch.optim.Adam if options.kind == "adam" else torch.optim.AdamW
    learning = [p for p in network.parameters() if p.requires_grad]
    return kind(learning, lr=options.rate, weight_decay=options.weight_decay, fused=True)
