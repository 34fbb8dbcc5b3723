"""Training runs of a few steps within this process, for the tests of training."""

from __future__ import annotations

from convlstm.losses import MeanSquaredError
from convlstm.runs.metrics_log import MetricsLog
from convlstm.training.loop import Trainer
from tests.support.tiny import Fade

import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten

MSE = MeanSquaredError()
MEASURED = ("seconds", "sequences_per_second", "peak_memory_mb")
"""Columns that differ from run to run, since a clock or the machine decides them."""


class Frames:
    """Random frames, a function of (seed, epoch, index).

    `disturb` is called with (split, epoch, number) before each batch. The targets of the steps in `poisoned` are
    infinite.
    """

    def __init__(
        self,
        sequences=14,
        dtype="float32",
        frames=(2, 3),
        size=4,
        disturb=lambda split, epoch, number: None,
        poisoned=(),
    ):
        self.sequences, self.dtype, self.frames, self.side = sequences, dtype, frames, size
        self.disturb, self.poisoned = disturb, poisoned

    def size(self, split):
        return self.sequences if split == "train" else 5

    def batch(self, split, number, batch_size, seed=0, epoch=0):
        rng = np.random.default_rng([seed, epoch, number, len(split)])
        count = min(batch_size, self.size(split) - number * batch_size)
        frames = rng.integers(0, 256, (count, sum(self.frames), self.side, self.side, 1), np.uint8)
        frames = frames if self.dtype == "uint8" else frames.astype(np.float32) / 255
        return {"inputs": frames[:, : self.frames[0]], "targets": frames[:, self.frames[0] :]}

    def stream(self, split, batch_size, *, seed=0, epoch=0, start=0):
        whole, rest = divmod(self.size(split), batch_size)
        for number in range(start, whole + (1 if rest and split != "train" else 0)):
            self.disturb(split, epoch, number)
            batch = self.batch(split, number, batch_size, seed, epoch)
            if split == "train" and epoch * whole + number + 1 in self.poisoned:
                batch["targets"] = batch["targets"] + np.float32(np.inf)
            yield batch

    def describe(self):
        return {"name": "frames", "dtype": self.dtype}


def at_step(step, action, batches=7):
    """Returns a `disturb` that calls `action` before the batch of a step, counted from 1."""
    return lambda split, epoch, number: action() if (split, epoch * batches + number + 1) == ("train", step) else None


def fit(
    folder,
    data=None,
    model=None,
    *,
    loss=MSE,
    rate=0.05,
    seed=0,
    resume=None,
    overwrite=False,
    optimizer=None,
    sampling=None,
    loggers=(),
    **settings,
):
    """Trains a `Fade`, and returns the model and the progress."""
    model = Fade() if model is None else model
    settings = {"max_steps": 12, "batch_size": 2, "log_every": 1, "validate_every": 5, "checkpoint_every": 4} | settings
    progress = Trainer(**settings).fit(
        model,
        optim.Adam(rate) if optimizer is None else optimizer,
        loss,
        Frames() if data is None else data,
        folder,
        {
            "model": {"_target_": "tests.support.tiny.Fade"},
            "loss": {"_target_": "convlstm.losses.MeanSquaredError"},
            "settings": settings,
        },
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        sampling=sampling,
        loggers=loggers,
    )
    return model, progress


def rows(folder):
    return MetricsLog.read(folder / "metrics.csv")


def column(folder, name):
    return [row[name] for row in rows(folder) if row[name]]


def weights(model):
    return {name: array.tolist() for name, array in tree_flatten(model.parameters())}


def last(folder, name="last"):
    return folder / "checkpoints" / name


def strip(folder):
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows(folder)]
