"""The training loop: steps, validations, checkpoints, and an orderly end."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.architectures.model_facts import told
from convlstm.backend.memory import check_parameters
from convlstm.backend.signals import StopRequested, stop_came, stop_requests
from convlstm.checkpoints.frozen import training_mode
from convlstm.distributed.ranks import ALONE, Ranks
from convlstm.losses import Loss
from convlstm.runs.folder import NullFolder, RunFolder, open_folder
from convlstm.runs.logging import Logger
from convlstm.runs.progress import Progress
from convlstm.runs.resume import checkpoint_for
from convlstm.training.batches import Batches, DataError, check_validation
from convlstm.training.console import Console
from convlstm.training.diagnostics import weights
from convlstm.training.ema import begin_average
from convlstm.training.precision import warn_if_slow
from convlstm.training.replicas import broadcast_state, interruption, synchronised
from convlstm.training.run import COLUMNS, Run, reason_to_end
from convlstm.training.sampling import Sampling
from convlstm.training.settings import Settings
from convlstm.training.step import to_device

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim


class Trainer:
    """A trainer of models, which writes `metrics.csv` and the checkpoints `last` and `best` to a run's folder.

    The arguments are those of `Settings`.

    Attributes:
        settings: The settings.
    """

    # It has the signature of the settings, which the checks of a configuration read.
    @functools.wraps(Settings.__init__)  # type: ignore[misc]
    def __init__(self, *arguments: Any, **settings: Any):
        self.settings = Settings(*arguments, **settings)

    def check(self, model: nn.Module, loss: Loss, data: Any, *, ranks: Ranks = ALONE) -> None:
        """Checks that model, loss and data fit each other, on a batch that is loaded but not computed.

        Args:
            model, loss, data: As for `fit`.
            ranks: The processes that train together. Default: only this one.

        Raises:
            ValueError: The data have fewer sequences than a batch, or none for validation; data, model and loss do not
                fit each other; the ranks cannot share a batch; or the memory is too small for the parameters.
            DataError: The data failed.
        """
        check_parameters(model)
        size, parts = self.settings.batch_size, self.settings.accumulate
        if size % (parts * ranks.size):
            raise ValueError(
                f"[Trainer] 'batch_size' is that of all ranks together and must be a multiple of 'accumulate' "
                f"({parts}) times the number of ranks ({ranks.size}) but got {size}. Change one of them."
            )
        batches = Batches(data, size, ranks=ranks)
        check_validation(data)
        batch = to_device(next(batches.training(0)))
        targets = batch["targets"]
        forecast = model(batch["inputs"], targets.shape[1], key=mx.random.key(0), **told(model, batch))
        if forecast.shape[forecast.ndim - targets.ndim :] != targets.shape or forecast.ndim > targets.ndim + 1:
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
        resume: str | Path | bool | None = None,
        overwrite: bool = False,
        validate_first: bool = False,
        sampling: Sampling | None = None,
        loggers: Sequence[Logger] = (),
        ranks: Ranks = ALONE,
    ) -> Progress:
        """Trains until `max_steps`, until the validation score stops improving, or until SIGINT, SIGTERM or SIGHUP.

        Args:
            model: Called as `model(inputs, horizon, key=key)`.
            optimizer: An optimizer of `mlx.optimizers`.
            loss: Called as `loss(forecast, targets, mask)`.
            data: Has `size(split)`, `stream(split, batch_size, seed=, epoch=, start=)` and `describe()`.
            folder: The run's folder. It must not hold a run with checkpoints, unless `resume` or `overwrite` says so.
            config: The resolved configuration, written to the run's folder and to each checkpoint.
            seed: Seed of the order of the data and of the dropout masks. A resumed run keeps its own. Default: 0.
            resume: Checkpoint to resume from, or a run, whose newest checkpoint is taken. True, or 'auto': the run in
                `folder`, or a new run if there is none. Default: None, a new run.
            overwrite: True to start a new run in a folder that holds one. Once the new run is ready to train, the whole
                folder is renamed to `FOLDER.old-1`, or to the first free number; nothing is deleted. Default: False.
            validate_first: True to validate before the first step, so that the checkpoint `best` is never worse than
                weights that were trained before. Default: False.
            sampling: Function of the step that gives the probability of feeding true frames to the model in training.
                Default: None, which leaves it to the model.
            loggers: Loggers that get the rows of `metrics.csv`, too. Default: none.
            ranks: The processes that train together, each with its share of every batch. Only rank 0 writes and prints.
                Default: only this one.

        Returns:
            The progress at the end. Its `status` is 'finished', 'stopped early', or 'interrupted by SIGINT' or another
            signal.

        Raises:
            ResumeError: The folder holds a run already, or `resume` and `overwrite` are both given. Nothing was
                changed.
            NonFiniteLossError: The loss or its gradient was NaN or infinite for more than `max_skipped` steps in a row;
                weights and checkpoints are those before them.
            DataError: The data failed; the steps before are saved.
            CheckpointError: The checkpoint to resume from is missing, damaged or does not fit; nothing was written.
            OSError: Something could not be written. Everything written before is intact.
            RunInUseError: Another process trains in the folder.
            RanksError: The weights of the ranks differ by more than rounding.
            ValueError: The data have fewer training sequences than a batch, or none for validation; or the folder
                cannot be moved aside.
        """
        settings, folder = self.settings, Path(folder)
        checkpoint = checkpoint_for(folder, resume, overwrite=overwrite) if ranks.main else None
        progress = _restored(checkpoint, model, optimizer, seed)
        average = begin_average(model, settings.ema, progress, checkpoint)
        broadcast_state(ranks, model, optimizer, progress, average)
        reason = reason_to_end(settings, progress)
        if reason and not progress.unvalidated:
            progress.status = reason
            return progress
        if ranks.main:
            warn_if_slow(settings.precision)
        progress.status, progress.data = "running", data.describe()
        if validate_first and progress.step == 0 and progress.best is None:
            progress.unvalidated = {"step": 0}
        batches = Batches(data, settings.batch_size, progress.seed, ranks=ranks)
        check_validation(data)
        opened: AbstractContextManager[RunFolder | NullFolder] = nullcontext(NullFolder(folder))
        if ranks.main:
            opened = open_folder(
                folder,
                config,
                COLUMNS,
                progress,
                keep=settings.keep_last,
                on_full_disk=settings.on_full_disk,
                loggers=loggers,
                ranks=ranks.size,
                overwrite=overwrite,
            )
        with opened as run_folder:
            if isinstance(run_folder, RunFolder):
                run_folder.maps = getattr(data, "maps", None)
            console = Console(progress.step, settings.max_steps, settings.batch_size, quiet=not ranks.main)
            run = Run(
                settings,
                model,
                optimizer,
                loss=loss,
                batches=batches,
                progress=progress,
                average=average,
                folder=run_folder,
                console=console,
                ranks=ranks,
                sampling=sampling,
            )
            try:
                with stop_requests() as received, closing(console):
                    train(run, received)
            except DataError as error:
                raise run.data_error(error) from error.__cause__
        return progress


def train(run: Run, received: list[int]) -> None:
    """Trains a run from its current step to its end.

    Args:
        run: The run. Its status says at the end why training ended.
        received: Requests to stop, see `stop_requests`.
    """
    settings, progress = run.settings, run.progress
    training_mode(run.model)
    first, start = progress.step, time.perf_counter()
    earlier_seconds = progress.seconds
    try:
        if progress.unvalidated and not conclude(run, progress.unvalidated, received):
            return
        step_start = time.perf_counter()
        for batch in synchronised(run.ranks, run.batches.training(progress.step)):
            before = weights(run.model) if (progress.step + 1) % settings.log_every == 0 else None
            try:
                loss, norm = run.step(batch)
            except RuntimeError as error:
                if not stop_came(received):
                    raise
                # Ctrl-C in a terminal also reaches the compiler that MLX runs for the first step, which then fails.
                if run.ranks.size > 1:
                    raise KeyboardInterrupt from error  # the other ranks are still in this step
                raise StopRequested from None
            run.count(loss, norm, batch)
            run.console.advance(time.perf_counter() - step_start)
            progress.seconds = earlier_seconds + time.perf_counter() - start

            row = {} if before is None else run.training_row(norm, before)
            before = None  # frees the old weights
            if not conclude(run, row, received):
                return
            step_start = time.perf_counter()
    except StopRequested:
        progress.status = interruption(run.ranks, received)
        if progress.step > first:
            run.save(insist=True)


def conclude(run: Run, row: dict[str, float], received: list[int]) -> bool:
    """Validates after a step if that is due, writes the row and the checkpoints, and returns True if training goes on.

    Args:
        run: The run. Its status says at the end why training ended.
        row: The columns about training, if they are due.
        received: Requests to stop.

    Raises:
        StopRequested: A request to stop came before the validation was done. The progress keeps the row.
    """
    settings, progress = run.settings, run.progress
    due = progress.step >= settings.max_steps or progress.step % settings.validate_every == 0
    validated = due or bool(progress.unvalidated)
    if validated:
        progress.unvalidated = {"step": progress.step} | row
        row = row | run.validate(received)
        progress.unvalidated = {}
    if row:
        run.add(row)
    if validated:
        run.keep_if_best(row)
    run.console.estimate(progress.step)
    progress.status = reason_to_end(settings, progress) or interruption(run.ranks, received) or "running"
    running = progress.status == "running"
    if not running or validated or progress.step % settings.checkpoint_every == 0:
        run.save(insist=not running)
    return running


def _restored(checkpoint: Path | None, model: nn.Module, optimizer: optim.Optimizer, seed: int) -> Progress:
    """Restores model and optimizer from a checkpoint, if there is one, and returns its progress or a new one."""
    optimizer.init(model.trainable_parameters())
    if checkpoint is None:
        return Progress(seed=seed)
    # The state is checked before the weights are put into the model.
    Progress.restored(checkpoints.read_state(checkpoint), checkpoint)
    return Progress.restored(checkpoints.restore(checkpoint, model, optimizer), checkpoint)
