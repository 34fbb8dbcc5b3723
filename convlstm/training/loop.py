"""The training loop: steps, validation, checkpoints, and an orderly end."""

from __future__ import annotations

import math
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from convlstm.losses import Loss
from convlstm.metrics import HIGHER_IS_BETTER, FrameMetrics
from convlstm.training import checkpoint
from convlstm.training.log import MetricsLog
from convlstm.training.progress import Console, Progress
from convlstm.training.signals import stop_requests
from convlstm.training.step import check_precision, make_step, number, to_device

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import yaml

SCORES = ("mse_per_frame", "mae_per_frame", "psnr")
COLUMNS = ["step", "epoch", "seconds", "learning_rate", "train_loss", "gradient_norm", "sequences_per_second"]
COLUMNS += ["val_loss", *(f"val_{name}" for name in SCORES)]


class NonFiniteLossError(RuntimeError):
    """The loss, or the norm of its gradient, became NaN or infinite."""


class DataError(RuntimeError):
    """The data failed while a batch was loaded."""


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
        precision: 'float32', or 'bfloat16' for the model's forward and backward pass in training. Weights, optimizer,
            loss, checkpoints and validation are float32 either way. Default: 'float32'.

    Raises:
        ValueError: A number is out of range, or `monitor` or `precision` is unknown.
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
        precision: str = "float32",
    ):
        for name, value, optional in (
            ("max_steps", max_steps, False),
            ("batch_size", batch_size, False),
            ("log_every", log_every, False),
            ("validate_every", validate_every, False),
            ("validation_sequences", validation_sequences, True),
            ("checkpoint_every", checkpoint_every, False),
            ("patience", patience, True),
        ):
            if not (optional and value is None) and (type(value) is not int or value < 1):
                raise ValueError(f"[Trainer] '{name}' must be a whole number of at least 1 but got {value!r}.")
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"[Trainer] 'max_grad_norm' must be above 0, or null for none, but got {max_grad_norm}.")
        choices = ["val_loss", *(f"val_{name}" for name in SCORES)]
        if monitor not in choices:
            raise ValueError(f"[Trainer] 'monitor' must be one of {', '.join(choices)} but got {monitor!r}.")
        self.precision = check_precision("Trainer", precision)
        self.max_steps, self.batch_size, self.max_grad_norm = max_steps, batch_size, max_grad_norm
        self.log_every, self.validate_every, self.checkpoint_every = log_every, validate_every, checkpoint_every
        self.validation_sequences, self.monitor, self.patience = validation_sequences, monitor, patience

    def check(self, model: nn.Module, loss: Loss, data: Any) -> None:
        """Puts a batch through the model and the loss, up to the point where something would be computed.

        Raises:
            ValueError: The data has fewer sequences than a batch, or data, model and loss do not fit each other.
        """
        self.data = data
        self._batches_per_epoch()
        batch = to_device(next(iter(data.stream("train", self.batch_size))))
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

        Returns:
            The state at the end; its `status` is 'finished', 'stopped early', 'interrupted by SIGINT' or '... SIGTERM'.

        Raises:
            NonFiniteLossError: The loss or its gradient became NaN or infinite; the checkpoints are those before it.
            DataError: The data failed; the steps before are saved.
            CheckpointError: The checkpoint to go on from is damaged or does not fit; nothing was written.
        """
        self.model, self.optimizer, self.loss, self.data, self.config = model, optimizer, loss, data, config
        self.folder = Path(folder)
        optimizer.init(model.trainable_parameters())
        self.progress = progress = Progress(seed=seed)
        if resume is not None:
            # Whether the state is one comes before the weights are put into the model.
            Progress.restored(checkpoint.read_state(resume), resume)
            self.progress = progress = Progress(**checkpoint.restore(resume, model, optimizer))
            if progress.step >= self.max_steps or self._patience_is_over():
                progress.status = "finished" if progress.step >= self.max_steps else "stopped early"
                return progress
        if self.precision == "bfloat16" and mx.default_device() == mx.Device(mx.cpu):
            warnings.warn(
                "bfloat16 is slower than float32 on a CPU, many times for all but the smallest models. Use it on a "
                "GPU, or train with trainer.precision=float32.",
                stacklevel=2,
            )
        progress.status, progress.data = "running", data.describe()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_config()
        self.log = MetricsLog(self.folder / "metrics.csv", COLUMNS, progress.step)
        step = make_step(model, optimizer, loss, self.max_grad_norm, precision=self.precision)
        self.forecast = mx.compile(lambda x, horizon: model(x, horizon), inputs=model.state)
        model.train()

        self.first, self.console = progress.step, Console(progress.step, self.max_steps, self.batch_size)
        with stop_requests() as received, closing(self.console):
            start = mark = time.perf_counter()
            before = progress.seconds
            for batch in self._batches():
                try:
                    results = step(to_device(batch), self._key())
                except RuntimeError:
                    if not _stopped(received):
                        raise
                    # A terminal sends Ctrl-C to the compiler that MLX runs for the first step, too: nothing to finish.
                    progress.status = f"interrupted by {signal.Signals(received[0]).name}"
                    return progress
                progress.step += 1
                value, norm = (number(result) for result in results)
                if not (math.isfinite(value) and math.isfinite(norm)):
                    raise self._non_finite(value, norm)
                progress.loss_sum += value
                progress.loss_count += 1
                self.console.advance(time.perf_counter() - mark)
                progress.seconds = before + time.perf_counter() - start

                row = self._training_row(norm) if progress.step % self.log_every == 0 else {}
                last = progress.step >= self.max_steps
                validated = last or progress.step % self.validate_every == 0
                if validated:
                    try:
                        row |= self._validate()
                    except RuntimeError:
                        if not _stopped(received):
                            raise
                        row |= self._validate()
                if row:
                    self._write_row(row)
                if validated and progress.best_step == progress.step:
                    self._save("best")
                self.console.estimate(progress.step)

                if last:
                    progress.status = "finished"
                elif validated and self._patience_is_over():
                    progress.status = "stopped early"
                elif received:
                    progress.status = f"interrupted by {signal.Signals(received[0]).name}"
                if progress.status != "running":
                    break
                if validated or progress.step % self.checkpoint_every == 0:
                    self._save("last")
                mark = time.perf_counter()
            self._save("last")
        return progress

    def _patience_is_over(self) -> bool:
        return self.patience is not None and self.progress.validations_without_improvement >= self.patience

    def _batches_per_epoch(self) -> int:
        size = self.data.size("train")
        if size < self.batch_size:
            raise ValueError(f"[Trainer] an epoch has {size} sequences, fewer than 'batch_size' ({self.batch_size}).")
        return size // self.batch_size

    def _batches(self) -> Iterator[dict[str, np.ndarray]]:
        """The batches from the current step on; the step says which epoch it is and which of its batches is next."""
        epoch, start = divmod(self.progress.step, self._batches_per_epoch())
        while self.progress.step < self.max_steps:
            yield from self._stream("train", self.batch_size, seed=self.progress.seed, epoch=epoch, start=start)
            epoch, start = epoch + 1, 0

    def _stream(self, split: str, batch_size: int, **place: int) -> Iterator[dict[str, np.ndarray]]:
        """The batches of a split; DataError where loading one fails, after the steps so far have been saved."""
        try:
            yield from self.data.stream(split, batch_size, **place)
        except Exception as error:
            # A step whose validation is missing would be resumed without it, so that is left to the checkpoint before.
            if split == "train" and self.progress.step > self.first:
                self._save("last")
            line = traceback.extract_tb(error.__traceback__)[-1]
            raise DataError(
                f"the data ({split}) failed after step {self.progress.step}: {type(error).__name__}: {error} "
                f"({Path(line.filename).name}, line {line.lineno}). {self._last_good()}"
            ) from error

    def _key(self) -> mx.array:
        """The step's random key: a function of the seed and the step, so that a resumed run draws the same."""
        seed = np.random.SeedSequence([self.progress.seed, self.progress.step]).generate_state(1, np.uint64)[0]
        return mx.random.key(int(seed))

    def _training_row(self, norm: float) -> dict[str, float]:
        progress, speed = self.progress, self.console.speed(self.log_every)
        mean = progress.loss_sum / progress.loss_count
        progress.loss_sum, progress.loss_count = 0.0, 0
        self.console.show(progress.step, mean, speed)
        return {"train_loss": mean, "gradient_norm": norm, "sequences_per_second": speed}

    def _validate(self) -> dict[str, float]:
        """The scores on the validation split, and in the progress whether they are the best."""
        progress, metrics = self.progress, FrameMetrics(ssim=False)
        losses: list[float] = []
        counts: list[int] = []
        size = self.data.size("validation")
        size = size if self.validation_sequences is None else min(size, self.validation_sequences)
        self.model.eval()
        for batch in self._stream("validation", min(self.batch_size, size)):
            arrays = to_device(batch)
            take = min(size - sum(counts), arrays["inputs"].shape[0])
            arrays = {name: array[:take] for name, array in arrays.items()}
            forecast = self.forecast(arrays["inputs"], arrays["targets"].shape[1])
            losses.append(number(self.loss(forecast, arrays["targets"], arrays.get("mask"))))
            counts.append(take)
            mask = arrays.get("mask")
            metrics.update(np.array(forecast), np.array(arrays["targets"]), None if mask is None else np.array(mask))
            if sum(counts) >= size:
                break
        self.model.train()
        scores = metrics.compute()
        row = {"val_loss": float(np.average(losses, weights=counts))}
        row |= {f"val_{name}": float(scores[name]["overall"]) for name in SCORES}

        value, best = row[self.monitor], progress.best
        higher = self.monitor.removeprefix("val_") in HIGHER_IS_BETTER
        if math.isfinite(value) and (best is None or (value > best if higher else value < best)):
            progress.best, progress.best_step, progress.validations_without_improvement = value, progress.step, 0
            note = "best so far"
        else:
            progress.validations_without_improvement += 1
            note = "none is finite yet" if best is None else f"best {best:.4g} at step {progress.best_step}"
        shown = f"MSE {row['val_mse_per_frame']:.4g} per frame, loss {row['val_loss']:.4g}"
        self.console.say(f"step {progress.step}: validation {shown} ({self.monitor}: {note})")
        return row

    def _write_row(self, values: dict[str, float]) -> None:
        progress = self.progress
        epoch = (progress.step - 1) // self._batches_per_epoch()
        row = {"step": progress.step, "epoch": epoch, "seconds": round(progress.seconds, 2)}
        self.log.add(row | {"learning_rate": self._rate()} | values)

    def _rate(self) -> float:
        return number(mx.array(self.optimizer.learning_rate))

    def _write_config(self) -> None:
        beside = self.folder / "config.yaml.tmp"
        beside.write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")
        beside.replace(self.folder / "config.yaml")

    def _save(self, name: str) -> None:
        place = self.folder / checkpoint.FOLDER / name
        checkpoint.save(place, self.model, self.optimizer, vars(self.progress), self.config)

    def _non_finite(self, loss: float, norm: float) -> NonFiniteLossError:
        what = f"the loss became {loss}" if not math.isfinite(loss) else f"the norm of the gradient became {norm}"
        return NonFiniteLossError(
            f"{what} at step {self.progress.step}, with a learning rate of {self._rate():.3g}. {self._last_good()} Try "
            "a smaller learning rate (schedule.learning_rate), or clip gradients harder (trainer.max_grad_norm)."
        )

    def _last_good(self) -> str:
        try:
            return f"The last good checkpoint is '{checkpoint.find(self.folder, prefer=('last', 'best'))}'."
        except checkpoint.CheckpointError:
            return "There is no checkpoint yet."


def _stopped(received: list[int]) -> bool:
    """Whether a request to stop came, in time or together with the failure that makes this a question."""
    time.sleep(0.05)
    return bool(received)
