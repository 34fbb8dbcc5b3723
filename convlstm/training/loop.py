"""The training loop: steps, validation, checkpoints, and an orderly end."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.backend.memory import check_parameters
from convlstm.backend.signals import came, stop_requests
from convlstm.distributed.ranks import ALONE, Ranks
from convlstm.losses import Loss
from convlstm.runs.folder import BEST, LAST, RunFolder
from convlstm.runs.lock import hold
from convlstm.runs.logging import Logger, Tracking
from convlstm.runs.progress import Progress
from convlstm.training import diagnostics as health
from convlstm.training.batches import Batches, DataError
from convlstm.training.console import Console
from convlstm.training.diagnostics import NonFiniteLossError
from convlstm.training.ema import begin_average
from convlstm.training.precision import warn_where_slow
from convlstm.training.replicas import Elsewhere, agreed, begin_alike, check_alike, stop_signal
from convlstm.training.sampling import Sampling
from convlstm.training.settings import Settings
from convlstm.training.step import make_step, number, to_device
from convlstm.training.validation import MONITORED, better, validate

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

# What a clock or the machine decides, so that it differs from run to run.
MEASURED = ("seconds", "sequences_per_second", "peak_memory_mb")
COLUMNS = ["step", "epoch", "seconds", "learning_rate", "train_loss", "gradient_norm", "update_ratio", "skipped"]
COLUMNS += ["sequences_per_second", "peak_memory_mb", *MONITORED]


class Trainer(Settings):
    """Trains a model and leaves `metrics.csv` and the checkpoints `last` and `best` in the run's folder.

    Its arguments are those of `Settings`.
    """

    # The processes that train together, each with its share of every batch. Only rank 0 writes and prints.
    ranks: Ranks = ALONE

    def check(self, model: nn.Module, loss: Loss, data: Any) -> None:
        """Puts a batch through the model and the loss, up to the point where something would be computed.

        Raises:
            ValueError: The data has fewer sequences than a batch, or data, model and loss do not fit each other, or a
                batch cannot be shared by the ranks, or there is not enough memory for the parameters.
        """
        check_parameters(model)
        size, ranks = self.batch_size, self.ranks.size
        if size % (self.accumulate * ranks):
            raise ValueError(
                f"[Trainer] 'batch_size' is that of all ranks together and must be a multiple of 'accumulate' "
                f"({self.accumulate}) times the number of ranks ({ranks}) but got {size}. Change one of them."
            )
        batch = to_device(next(Batches(data, size, ranks=self.ranks).training(0)))
        targets = batch["targets"]
        forecast = model(batch["inputs"], targets.shape[1], key=mx.random.key(0))
        if forecast.shape != targets.shape:
            raise ValueError(
                f"[Trainer] the model's forecasts are {forecast.shape} but the data's targets {targets.shape}, each "
                "(sequences, frames, height, width, channels). Change the model or the data."
            )
        loss(forecast, targets, batch.get("mask"))

    def fit(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        loss: Loss,
        data: Any,
        folder: str | Path,
        config: dict[str, Any],
        *,
        seed: int = 0,
        resume: Path | None = None,
        sampling: Sampling | None = None,
        loggers: Sequence[Logger] = (),
    ) -> Progress:
        """Trains until `max_steps`, until the validation score stops improving, or until SIGINT or SIGTERM.

        Args:
            model: Called as `model(inputs, horizon, key=key)`.
            optimizer: An optimizer of `mlx.optimizers`.
            loss: Called as `loss(forecast, targets, mask)`.
            data: Has `size(split)`, `stream(split, batch_size, seed=, epoch=, start=)` and `describe()`.
            folder: The run's folder.
            config: The resolved configuration, kept in the run's folder and in each checkpoint.
            seed: Of the order of the data and of the dropout masks; a resumed run keeps its own.
            resume: A checkpoint's folder to go on from.
            sampling: With which probability the model is fed true frames in training, a function of the step.
                None: as the model does without.
            loggers: Where the rows go beside `metrics.csv`. Default: nowhere.

        Returns:
            The state at the end; its `status` is 'finished', 'stopped early', 'interrupted by SIGINT' or '... SIGTERM'.

        Raises:
            NonFiniteLossError: The loss or its gradient was NaN or infinite for more than `max_skipped` steps in a row;
                weights and checkpoints are those before them.
            DataError: The data failed; the steps before are saved.
            CheckpointError: The checkpoint to go on from is damaged or does not fit; nothing was written.
            OSError: Something could not be written. What was written before is whole.
            RunInUseError: Another process trains in the folder.
        """
        self.model, self.optimizer, self.loss, self.sampling = model, optimizer, loss, sampling
        optimizer.init(model.trainable_parameters())
        self.progress = progress = Progress(seed=seed)
        if resume is not None and self.ranks.main:
            # Whether the state is one comes before the weights are put into the model.
            Progress.restored(checkpoints.read_state(resume), resume)
            self.progress = progress = Progress.restored(checkpoints.restore(resume, model, optimizer), resume)
        self.average = begin_average(model, self.ema, progress, resume if self.ranks.main else None)
        begin_alike(self.ranks, model, optimizer, progress, self.average)
        if progress.step >= self.max_steps or self._patience_is_over():
            progress.status = "finished" if progress.step >= self.max_steps else "stopped early"
            return progress
        if self.ranks.main:
            warn_where_slow(self.precision)
        progress.status, progress.data = "running", data.describe()
        self.batches = Batches(data, self.batch_size, progress.seed, ranks=self.ranks)
        self.forecast = mx.compile(lambda x, horizon: model(x, horizon), inputs=model.state)
        self.console = Console(progress.step, self.max_steps, self.batch_size, quiet=not self.ranks.main)
        with ExitStack() as stack:
            self.run: RunFolder | Elsewhere = Elsewhere(Path(folder))
            self.tracking: Tracking | None = None
            if self.ranks.main:
                stack.enter_context(hold(Path(folder)))
                more: dict[str, Any] = {"keep": self.keep_last, "on_full_disk": self.on_full_disk}
                self.run = RunFolder(Path(folder), config, COLUMNS, step=progress.step, **more)
                place = (self.run.log, self.run.path, config, progress)
                self.tracking = stack.enter_context(Tracking(loggers, *place, ranks=self.ranks.size))
            self._train_or_save()
        return progress

    def _train_or_save(self) -> None:
        """The steps; where the data fails, those before it are saved."""
        progress, first = self.progress, self.progress.step
        try:
            with stop_requests() as received, closing(self.console):
                self._train(received)
        except DataError as error:
            # A step whose validation is missing would be resumed without it, so that is left to the checkpoint before.
            if error.split == "train" and progress.step > first:
                self._save(LAST)
            text = f"the data ({error.split}) failed after step {progress.step}: {error}. {self.run.last_good()}"
            raise DataError(text, error.split) from error.__cause__

    def _train(self, received: list[int]) -> None:
        """The steps, from where the progress is; `received` are the requests to stop."""
        progress, model = self.progress, self.model
        step = make_step(
            model,
            self.optimizer,
            self.loss,
            self.max_grad_norm,
            precision=self.precision,
            parts=self.accumulate,
            ranks=self.ranks,
            sampling=self.sampling,
        )
        model.train()
        start = mark = time.perf_counter()
        seconds = progress.seconds
        for batch in agreed(self.ranks, self.batches.training(progress.step)):
            logged = (progress.step + 1) % self.log_every == 0
            before = health.copies(model) if logged else None
            try:
                value, norm = step(to_device(batch), self.batches.key(progress.step), progress.step)
            except RuntimeError as error:
                if not came(received):
                    raise
                # A terminal sends Ctrl-C to the compiler that MLX runs for the first step, too: nothing to finish.
                if self.ranks.size > 1:
                    raise KeyboardInterrupt from error  # the others are in the middle of theirs
                progress.status = f"interrupted by {signal.Signals(received[0]).name}"
                return
            self._count(number(value), number(norm), batch)
            self.console.advance(time.perf_counter() - mark)
            progress.seconds = seconds + time.perf_counter() - start

            row = {} if before is None else self._training_row(number(norm), before)
            before = None
            last = progress.step >= self.max_steps
            validated = last or progress.step % self.validate_every == 0
            if validated:
                try:
                    row |= self._validate()
                except RuntimeError:
                    if not came(received):
                        raise
                    row |= self._validate()
            if row:
                self._write_row(row)
            if validated:
                self._keep_score(row)
            self.console.estimate(progress.step)

            if last:
                progress.status = "finished"
            elif validated and self._patience_is_over():
                progress.status = "stopped early"
            elif name := stop_signal(self.ranks, received):
                progress.status = f"interrupted by {name}"
            if progress.status != "running":
                break
            if validated or progress.step % self.checkpoint_every == 0:
                self._save(LAST)
            mark = time.perf_counter()
        self._save(LAST, insist=True)

    def _count(self, value: float, norm: float, batch: dict[str, Any]) -> None:
        """Takes a step into the progress: as one that was made, or as one that was skipped for what is not finite."""
        progress = self.progress
        if wrong := health.non_finite(value, norm):
            if progress.skipped_in_a_row >= self.max_skipped:
                raise self._too_many_skipped(wrong, value, norm, batch)
            progress.skipped += 1
            progress.skipped_in_a_row += 1
            self.console.say(
                f"step {progress.step + 1} skipped: {wrong} ({progress.skipped_in_a_row} in a row, {progress.skipped} "
                "in all; weights and optimizer stay as they were)"
            )
        else:
            progress.skipped_in_a_row = 0
            progress.loss_sum += value
            progress.loss_count += 1
            if self.average is not None:
                self.average.update(self.model)
                progress.averaged = self.average.steps
        progress.step += 1

    def _too_many_skipped(self, wrong: str, value: float, norm: float, batch: dict[str, Any]) -> NonFiniteLossError:
        """The error for one step too many; what it can be computed from again is in the run's folder then."""
        step = self.progress.step
        failed = health.FailedStep(
            step + 1,
            value,
            norm,
            self._rate(),
            parts=self.accumulate * self.ranks.size,
            precision=self.precision,
            truth_share=None if self.sampling is None else self.sampling(mx.array(step)).tolist(),  # type: ignore
        )
        folder = self.run.path / failed.place
        note = f"Compute that step again:  python -m convlstm.training.diagnostics {folder}"
        try:
            if self.ranks.main:
                health.dump(folder, failed, self.loss, self.batches, self.batches.whole(step, batch))
            self._save(f"{failed.place}/{health.CHECKPOINT}", insist=True)
        except OSError as error:
            note = f"What it could be computed from again was not written: {error}"
        return NonFiniteLossError(
            f"{wrong} at step {step + 1}, with a learning rate of {failed.learning_rate:.3g}, after "
            f"{self.progress.skipped_in_a_row} steps in a row were skipped (trainer.max_skipped). "
            f"{self.run.last_good()} Try a smaller learning rate (schedule.learning_rate), or clip gradients harder "
            f"(trainer.max_grad_norm).\n{note}"
        )

    def _patience_is_over(self) -> bool:
        return self.patience is not None and self.progress.validations_without_improvement >= self.patience

    def _training_row(self, norm: float, before: dict[str, mx.array]) -> dict[str, float]:
        """The columns about training; without a mean loss where every step since the last row was skipped."""
        progress, speed = self.progress, self.console.speed(self.log_every)
        row = {"skipped": progress.skipped, "sequences_per_second": speed, "peak_memory_mb": health.peak_memory()}
        if progress.skipped_in_a_row == 0:
            row |= {"gradient_norm": norm, "update_ratio": health.update_ratio(before, health.copies(self.model))}
        if progress.loss_count:
            row["train_loss"] = progress.loss_sum / progress.loss_count
            self.console.show(progress.step, row["train_loss"], speed)
        progress.loss_sum, progress.loss_count = 0.0, 0
        return row

    def _validate(self) -> dict[str, float]:
        """The scores on the validation split, of the average of the weights where there is one."""
        size = self.batches.data.size("validation")
        size = size if self.validation_sequences is None else min(size, self.validation_sequences)
        self.model.eval()
        with nullcontext() if self.average is None else self.average.applied(self.model):
            row = validate(self.forecast, self.loss, self.batches.validation(size), self.ranks)
        self.model.train()
        return row

    def _keep_score(self, row: dict[str, float]) -> None:
        """Whether a validation's score is the best goes into the progress, and then the weights into a checkpoint."""
        progress, value, former = self.progress, row[self.monitor], (self.progress.best, self.progress.best_step)
        best = progress.best
        if math.isfinite(value) and (best is None or better(self.monitor, value, best)):
            progress.best, progress.best_step, progress.validations_without_improvement = value, progress.step, 0
            note = "best so far"
            if not self._save(BEST):
                progress.best, progress.best_step = former  # the next one that is better than these can be kept
        else:
            progress.validations_without_improvement += 1
            note = "none is finite yet" if best is None else f"best {best:.4g} at step {progress.best_step}"
        shown = f"MSE {row['val_mse_per_frame']:.4g} per frame, loss {row['val_loss']:.4g}"
        self.console.say(f"step {progress.step}: validation {shown} ({self.monitor}: {note})")

    def _write_row(self, values: dict[str, float]) -> None:
        progress = self.progress
        epoch, _ = self.batches.place(progress.step - 1)
        row = {"step": progress.step, "epoch": epoch, "seconds": round(progress.seconds, 2)}
        row |= {"learning_rate": self._rate()} | values
        self.run.add(row)
        if self.tracking is not None:
            self.tracking.log(row)

    def _rate(self) -> float:
        return number(mx.array(self.optimizer.learning_rate))

    def _save(self, name: str, *, insist: bool = False) -> bool:
        """Writes a checkpoint, and says whether it is there then: the same on every rank."""
        check_alike(self.ranks, self.model, self.optimizer, self.progress.step, self.average)
        with self.ranks.undisturbed():
            ema = None if self.average is None else self.average.weights
            done = self.run.save(name, self.model, self.optimizer, self.progress, ema, insist=insist)
        return self.ranks.share(done)
