"""The training loop: steps, validation, checkpoints, and an orderly end."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from tqdm import tqdm

from convlstm.losses import Loss
from convlstm.metrics import HIGHER_IS_BETTER, FrameMetrics
from convlstm.training import checkpoint
from convlstm.training.log import MetricsLog
from convlstm.training.step import make_step, to_device

SCORES = ("mse_per_frame", "mae_per_frame", "psnr")
COLUMNS = ["step", "epoch", "seconds", "learning_rate", "train_loss", "gradient_norm", "sequences_per_second", "val_loss"]
COLUMNS += [f"val_{name}" for name in SCORES]
LONG = 30 * 60  # seconds that are long for a first look


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass
class Progress:
    """What a checkpoint keeps beside the weights, so that a resumed run goes on exactly."""

    step: int = 0
    seed: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    best_step: int | None = None
    validations_without_improvement: int = 0
    status: str = "running"
    data: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """Trains a model and leaves `metrics.csv` and the checkpoints `last` and `best` in the run's folder.

    Args:
        max_steps: Number of optimizer steps.
        batch_size: Sequences in a step.
        max_grad_norm: Gradients with a larger norm over all parameters are scaled down to it. None: never.
        log_every: Steps between rows of `metrics.csv`, each with the mean loss since the last. Default: 10.
        validate_every: Steps between validations. Default: 500.
        validation_sequences: Sequences of the validation split that are used; None: all.
        checkpoint_every: Steps between checkpoints; there is one after every validation besides. Default: 500.
        monitor: Score of the validation that decides which checkpoint is best: 'val_loss', 'val_mse_per_frame',
            'val_mae_per_frame' or 'val_psnr'. Default: 'val_loss'.
        patience: Validations without a better score after which training stops; None: never.

    Raises:
        ValueError: A number is out of range, or `monitor` is unknown.
    """

    def __init__(
        self,
        max_steps: int,
        batch_size: int,
        *,
        max_grad_norm: float | None = None,
        log_every: int = 10,
        validate_every: int = 500,
        validation_sequences: int | None = None,
        checkpoint_every: int = 500,
        monitor: str = "val_loss",
        patience: int | None = None,
    ):
        for name, value in (
            ("max_steps", max_steps),
            ("batch_size", batch_size),
            ("log_every", log_every),
            ("validate_every", validate_every),
            ("validation_sequences", validation_sequences),
            ("checkpoint_every", checkpoint_every),
            ("patience", patience),
        ):
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise ValueError(f"[Trainer] '{name}' must be a whole number of at least 1 but got {value!r}.")
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"[Trainer] 'max_grad_norm' must be above 0, or null for none, but got {max_grad_norm}.")
        choices = ["val_loss", *(f"val_{name}" for name in SCORES)]
        if monitor not in choices:
            raise ValueError(f"[Trainer] 'monitor' must be one of {', '.join(choices)} but got {monitor!r}.")
        self.max_steps, self.batch_size, self.max_grad_norm = max_steps, batch_size, max_grad_norm
        self.log_every, self.validate_every, self.checkpoint_every = log_every, validate_every, checkpoint_every
        self.validation_sequences, self.monitor, self.patience = validation_sequences, monitor, patience

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
    ) -> Progress:
        """Trains until `max_steps`, until the validation score stops improving, or until SIGINT or SIGTERM.

        Args:
            model: Called as `model(inputs, horizon, key=key)`.
            optimizer: An optimizer of `mlx.optimizers`.
            loss: Called as `loss(forecast, targets, mask)`.
            data: Has `size(split)`, `stream(split, batch_size, seed=, epoch=, start=)` and `describe()`.
            folder: The run's folder.
            config: The resolved configuration, kept in each checkpoint.
            seed: Of the order of the data and of the dropout masks.
            resume: A checkpoint's folder to go on from.

        Returns:
            The state at the end; its `status` is 'finished', 'stopped early', 'interrupted by SIGINT' or '... SIGTERM'.

        Raises:
            NonFiniteLossError: The loss became NaN or infinite.
        """
        self.model, self.optimizer, self.loss, self.data, self.config = model, optimizer, loss, data, config
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        optimizer.init(model.trainable_parameters())
        self.progress = Progress(seed=seed)
        if resume is not None:
            self.progress = Progress(**checkpoint.restore(resume, model, optimizer))
        progress = self.progress
        progress.data = data.describe()
        if resume is not None and progress.status != "running" and progress.step >= self.max_steps:
            return progress
        progress.status = "running"
        self.log = MetricsLog(self.folder / "metrics.csv", COLUMNS, progress.step)
        step = make_step(model, optimizer, loss, self.max_grad_norm)
        self.forecast = mx.compile(lambda x, horizon: model(x, horizon), inputs=model.state)
        model.train()

        bar = tqdm(
            total=self.max_steps,
            initial=progress.step,
            desc="training",
            unit="step",
            mininterval=0.5 if sys.stderr.isatty() else 15,
            dynamic_ncols=True,
        )
        with _signals() as received, bar:
            started, before = time.perf_counter(), progress.seconds
            first, timed = progress.step, time.perf_counter()
            for batch in self._batches():
                value, norm = step(to_device(batch), self._key())
                progress.step += 1
                progress.seconds = before + time.perf_counter() - started
                value = value.item()
                if not math.isfinite(value):
                    raise self._non_finite(value)
                progress.loss_sum += value
                progress.loss_count += 1
                bar.update()
                if progress.step == first + 2:  # the first steps compile
                    timed = time.perf_counter()
                if progress.step == first + 7:
                    bar.write(self._estimate((time.perf_counter() - timed) / 5))
                if progress.step % self.log_every == 0:
                    speed = (progress.step - first) * self.batch_size / (time.perf_counter() - started)
                    mean = progress.loss_sum / progress.loss_count
                    bar.set_postfix_str(f"loss {mean:.4g}, {speed:.1f} seq/s", refresh=False)
                    self._write_row(train_loss=mean, gradient_norm=norm.item(), sequences_per_second=speed)
                    progress.loss_sum, progress.loss_count = 0.0, 0
                last = progress.step >= self.max_steps
                if progress.step % self.validate_every == 0 or last:
                    self._validate(bar)
                    if self.patience is not None and progress.validations_without_improvement >= self.patience:
                        progress.status = "stopped early"
                if last:
                    progress.status = "finished"
                if received:
                    progress.status = f"interrupted by {signal.Signals(received[0]).name}"
                if progress.status != "running":
                    break
                if progress.step % self.validate_every == 0 or progress.step % self.checkpoint_every == 0:
                    self._save("last")
            self._save("last")
        return progress

    def _batches(self) -> Iterator[dict[str, np.ndarray]]:
        """The batches from the current step on; the step says which epoch it is and which of its batches is next."""
        per_epoch = self.data.size("train") // self.batch_size
        if per_epoch == 0:
            raise ValueError(
                f"[Trainer] an epoch has {self.data.size('train')} sequences, fewer than 'batch_size' ({self.batch_size})."
            )
        epoch, start = divmod(self.progress.step, per_epoch)
        while self.progress.step < self.max_steps:
            yield from self.data.stream("train", self.batch_size, seed=self.progress.seed, epoch=epoch, start=start)
            epoch, start = epoch + 1, 0

    def _key(self) -> mx.array:
        """The step's random key: a function of the seed and the step, so that a resumed run draws the same."""
        seed = np.random.SeedSequence([self.progress.seed, self.progress.step]).generate_state(1, np.uint64)[0]
        return mx.random.key(int(seed))

    def _validate(self, bar: tqdm) -> None:
        progress, metrics = self.progress, FrameMetrics(ssim=False)
        losses, counts = [], []
        size = self.data.size("validation")
        size = size if self.validation_sequences is None else min(size, self.validation_sequences)
        self.model.eval()
        for batch in self.data.stream("validation", min(self.batch_size, size)):
            arrays = to_device(batch)
            take = min(size - sum(counts), arrays["inputs"].shape[0])
            arrays = {name: array[:take] for name, array in arrays.items()}
            forecast = self.forecast(arrays["inputs"], arrays["targets"].shape[1])
            losses.append(self.loss(forecast, arrays["targets"], arrays.get("mask")).item())
            counts.append(take)
            mask = arrays.get("mask")
            metrics.update(np.array(forecast), np.array(arrays["targets"]), None if mask is None else np.array(mask))
            if sum(counts) >= size:
                break
        self.model.train()
        scores = metrics.compute()
        row = {"val_loss": float(np.average(losses, weights=counts))}
        row |= {f"val_{name}": float(scores[name]["overall"]) for name in SCORES}
        self._write_row(**row)

        value = row[self.monitor]
        higher = self.monitor.removeprefix("val_") in HIGHER_IS_BETTER
        better = progress.best is None or (value > progress.best if higher else value < progress.best)
        if better and math.isfinite(value):
            progress.best, progress.best_step, progress.validations_without_improvement = value, progress.step, 0
            self._save("best")
        else:
            progress.validations_without_improvement += 1
        note = "best so far" if better else f"best {progress.best:.4g} at step {progress.best_step}"
        shown = f"MSE {row['val_mse_per_frame']:.4g} per frame, loss {row['val_loss']:.4g}"
        bar.write(f"step {progress.step}: validation {shown} ({self.monitor}: {note})")

    def _write_row(self, **values: float) -> None:
        progress = self.progress
        epoch = progress.step // (self.data.size("train") // self.batch_size)
        rate = self.optimizer.learning_rate
        row = {"step": progress.step, "epoch": epoch, "seconds": round(progress.seconds, 2)}
        self.log.add(row | {"learning_rate": rate.item() if isinstance(rate, mx.array) else rate} | values)

    def _save(self, name: str) -> None:
        place = self.folder / checkpoint.FOLDER / name
        checkpoint.save(place, self.model, self.optimizer, vars(self.progress), self.config)

    def _estimate(self, seconds_per_step: float) -> str:
        left = seconds_per_step * (self.max_steps - self.progress.step)
        text = f"about {_duration(seconds_per_step)} a step: {_duration(left)} for the {self.max_steps} steps of this run"
        if left > LONG:
            text += (
                ". Shorter: experiment=quickstart, a smaller trainer.max_steps, or a smaller model "
                "(model.hidden_channels). It can be stopped with Ctrl-C and resumed at any time."
            )
        return text

    def _non_finite(self, value: float) -> NonFiniteLossError:
        try:
            good = f"The last good checkpoint is {checkpoint.find(self.folder, prefer=('last', 'best'))}."
        except checkpoint.CheckpointError:
            good = "There is no checkpoint yet."
        rate = float(self.optimizer.learning_rate)
        return NonFiniteLossError(
            f"the loss became {value} at step {self.progress.step}, with a learning rate of {rate:.3g}. {good} Try a "
            "smaller learning rate (schedule.learning_rate), or clip gradients harder (trainer.max_grad_norm)."
        )


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that the loop can end after a step; a second SIGINT interrupts at once."""
    received: list[int] = []

    def handler(number, frame):
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    try:
        former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are somebody else's business
        former = {}
    try:
        yield received
    finally:
        for number, old in former.items():
            signal.signal(number, old)
