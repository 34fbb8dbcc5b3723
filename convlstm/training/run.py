"""A training run: its state, and its steps, validations and checkpoints."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from convlstm.architectures.model_facts import compiles
from convlstm.backend.signals import StopRequested, stop_came
from convlstm.backend.stop_guard import computing, saved
from convlstm.checkpoints.frozen import training_mode
from convlstm.distributed.ranks import Ranks
from convlstm.losses import Loss
from convlstm.ops import compilation
from convlstm.runs.folder import BEST, LAST, NullFolder, RunFolder
from convlstm.runs.progress import Progress
from convlstm.training import diagnostics
from convlstm.training.batches import Arrays, Batches, DataError
from convlstm.training.console import Console
from convlstm.training.diagnostics import NonFiniteLossError
from convlstm.training.ema import WeightAverage
from convlstm.training.replicas import check_same_state
from convlstm.training.sampling import Sampling
from convlstm.training.settings import Settings
from convlstm.training.step import make_step, number, to_device
from convlstm.training.validation import MONITORED, better, validate

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

COLUMNS = ["step", "epoch", "seconds", "learning_rate", "train_loss", "gradient_norm", "update_ratio", "skipped"]
COLUMNS += ["sequences_per_second", "peak_memory_mb", *MONITORED]


@dataclass
class Run:
    """A training run.

    Attributes:
        settings: The settings.
        model: The model that is trained.
        optimizer: The optimizer, with its state.
        loss: The loss to minimise.
        batches: The batches for training and validation.
        progress: The progress, updated by each step.
        average: The average of the weights, or None.
        folder: The run's folder; rank 0 writes to it.
        console: The console.
        ranks: The processes that train together, each with its share of every batch.
        sampling: The schedule of scheduled sampling, or None.
    """

    settings: Settings
    model: nn.Module
    optimizer: optim.Optimizer
    loss: Loss
    batches: Batches
    progress: Progress
    average: WeightAverage | None
    folder: RunFolder | NullFolder
    console: Console
    ranks: Ranks
    sampling: Sampling | None

    def __post_init__(self) -> None:
        settings = self.settings
        self._first_step = self.progress.step
        saved(
            f"Everything up to step {self.progress.step} is saved." if self.progress.step else "Nothing is saved yet."
        )
        self._forecast: Any = self.model
        if compiles(self.model):
            self._forecast = compilation.whole(
                lambda x, horizon, **facts: self.model(x, horizon, **facts), self.model.state
            )
        self._step = make_step(
            self.model,
            self.optimizer,
            self.loss,
            settings.max_grad_norm,
            precision=settings.precision,
            parts=settings.accumulate,
            ranks=self.ranks,
            sampling=self.sampling,
        )

    def step(self, batch: Arrays) -> tuple[float, float]:
        """Trains on a batch, and returns the loss and the norm of the gradient."""
        step = self.progress.step
        with computing():
            loss, norm = self._step(to_device(batch), self.batches.key(step), step)
            return number(loss), number(norm)

    def count(self, loss: float, norm: float, batch: Arrays) -> None:
        """Adds a step to the progress and to the average of the weights, or counts it as skipped.

        Raises:
            NonFiniteLossError: More than `max_skipped` steps in a row were skipped.
        """
        progress = self.progress
        if problem := diagnostics.non_finite(loss, norm):
            if progress.skipped_in_a_row >= self.settings.max_skipped:
                raise self._too_many_skipped(problem, loss, norm, batch)
            progress.skipped += 1
            progress.skipped_in_a_row += 1
            self.console.say(
                f"step {progress.step + 1} skipped: {problem} ({progress.skipped_in_a_row} in a row, "
                f"{progress.skipped} in all; weights and optimizer stay as they were)"
            )
        else:
            progress.skipped_in_a_row = 0
            progress.loss_sum += loss
            progress.loss_count += 1
            if self.average is not None:
                self.average.update(self.model)
                progress.averaged = self.average.steps
        progress.step += 1

    def _too_many_skipped(self, problem: str, loss: float, norm: float, batch: Arrays) -> NonFiniteLossError:
        """Writes files that can reproduce the step to the run's folder, and returns the error to raise."""
        step = self.progress.step
        failed = diagnostics.FailedStep(
            step + 1,
            loss,
            norm,
            self._learning_rate(),
            parts=self.settings.accumulate * self.ranks.size,
            precision=self.settings.precision,
            truth_share=None if self.sampling is None else self.sampling(mx.array(step)).tolist(),  # type: ignore
        )
        folder = self.folder.path / failed.folder
        note = f"Compute that step again:  python -m convlstm.training.diagnostics {folder}"
        try:
            if self.ranks.main:
                diagnostics.dump(folder, failed, self.loss, self.batches, self.batches.whole(step, batch))
            self.save(f"{failed.folder}/{diagnostics.CHECKPOINT}", insist=True)
        except OSError as error:
            note = f"The files to compute it again were not written: {error}"
        return NonFiniteLossError(
            f"{problem} at step {step + 1}, with a learning rate of {failed.learning_rate:.3g}, after "
            f"{self.progress.skipped_in_a_row} steps in a row were skipped (trainer.max_skipped). "
            f"{self.folder.last_good()} Try a smaller learning rate (schedule.learning_rate), or clip gradients harder "
            f"(trainer.max_grad_norm).\n{note}"
        )

    def training_row(self, norm: float, before: dict[str, mx.array]) -> dict[str, float]:
        """Returns the columns about training, without a mean loss if all steps since the last row were skipped.

        Args:
            norm: Norm of the gradient at this step.
            before: The weights before this step.
        """
        progress, speed = self.progress, self.console.speed(self.settings.log_every)
        row = {
            "skipped": progress.skipped,
            "sequences_per_second": speed,
            "peak_memory_mb": diagnostics.peak_memory(),
        }
        if progress.skipped_in_a_row == 0:
            after = diagnostics.weights(self.model)
            row |= {"gradient_norm": norm, "update_ratio": diagnostics.update_ratio(before, after)}
        if progress.loss_count:
            row["train_loss"] = progress.loss_sum / progress.loss_count
            self.console.show(progress.step, row["train_loss"], speed)
        progress.loss_sum, progress.loss_count = 0.0, 0
        return row

    def validate(self, received: list[int]) -> dict[str, float]:
        """Returns the columns about validation: the scores of the averaged weights, or of the weights.

        Args:
            received: Requests to stop.

        Raises:
            StopRequested: A request to stop came before the validation was done.
        """
        try:
            return self._validate()
        except RuntimeError:
            if not stop_came(received):
                raise
            raise StopRequested from None  # it has interrupted a compiler

    def _validate(self) -> dict[str, float]:
        size, limit = self.batches.data.size("validation"), self.settings.validation_sequences
        batches = self.batches.validation(size if limit is None else min(size, limit))
        self.model.eval()
        with nullcontext() if self.average is None else self.average.applied(self.model):
            row = validate(self._forecast, self.loss, batches, self.ranks, facts=getattr(self.model, "told", ()))
        training_mode(self.model)
        return row

    def add(self, row: dict[str, float]) -> None:
        """Adds the columns about the step to a row, and gives it to `metrics.csv` and to the loggers."""
        progress = self.progress
        epoch, _ = self.batches.position(max(0, progress.step - 1))
        head: dict[str, Any] = {"step": progress.step, "epoch": epoch, "seconds": round(progress.seconds, 2)}
        self.folder.add(head | {"learning_rate": self._learning_rate()} | row)

    def keep_if_best(self, row: dict[str, float]) -> None:
        """Compares a validation's score with the best one, and writes the checkpoint `best` if it is better."""
        progress, monitor = self.progress, self.settings.monitor
        value, best, best_step = row[monitor], progress.best, progress.best_step
        if math.isfinite(value) and (best is None or better(monitor, value, best)):
            progress.best, progress.best_step, progress.validations_without_improvement = value, progress.step, 0
            note = "best so far"
            if not self.save(BEST):
                progress.best, progress.best_step = best, best_step  # of the checkpoint that exists
        else:
            progress.validations_without_improvement += 1
            note = "none is finite yet" if best is None else f"best {best:.4g} at step {best_step}"
        scores = f"MSE {row['val_mse_per_frame']:.4g} per frame, loss {row['val_loss']:.4g}"
        self.console.say(f"step {progress.step}: validation {scores} ({monitor}: {note})")

    def save(self, name: str = LAST, *, insist: bool = False) -> bool:
        """Writes a checkpoint, and returns True on every rank if it was written; see `RunFolder.save`.

        Raises:
            RanksError: The weights of the ranks differ by more than rounding.
            OSError: As for `RunFolder.save`.
        """
        check_same_state(self.ranks, self.model, self.optimizer, self.progress.step, self.average)
        with self.ranks.undisturbed():
            ema = None if self.average is None else self.average.weights
            written = self.folder.save(name, self.model, self.optimizer, self.progress, ema, insist=insist)
            if written:
                saved(f"Everything up to step {self.progress.step} is saved.")
        return self.ranks.share(written)

    def data_error(self, error: DataError) -> DataError:
        """Saves the steps before a data error, and returns an error that names the checkpoint to resume from."""
        if self.progress.step > self._first_step:
            self.save()
        return DataError(
            f"the data ({error.split}) failed after step {self.progress.step}: {error}. {self.folder.last_good()}",
            error.split,
        )

    def _learning_rate(self) -> float:
        return number(mx.array(self.optimizer.learning_rate))


def reason_to_end(settings: Settings, progress: Progress) -> str:
    """Returns 'finished', 'stopped early', or "" if training continues."""
    if progress.step >= settings.max_steps:
        return "finished"
    patience = settings.patience
    return "stopped early" if patience is not None and progress.validations_without_improvement >= patience else ""
