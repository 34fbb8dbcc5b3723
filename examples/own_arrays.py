"""Train on your own NumPy arrays, without configuration files: `python examples/own_arrays.py`, a minute on two cores.

The arrays here are made up: warm spots that drift in a sea. Put yours in the place of `drifting_spots`. What
is left in `runs/own_arrays` is a run like any other: `forecast.py ckpt=runs/own_arrays input=FRAMES.npy` takes it, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs in a checkout without installation, too

from convlstm import Forecaster  # before mlx: on Linux CPUs convlstm brings a fast BLAS
from convlstm.architectures.baselines import Persistence
from convlstm.checkpoints.build import build
from convlstm.datasets.stream import BatchStream, batches
from convlstm.datasets.transforms import Linear, RadarTransform
from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import table
from convlstm.losses import MeanSquaredError
from convlstm.training.loop import Trainer
from convlstm.training.schedules import cosine

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

SPLITS = ("train", "validation", "test")
# A description instead of an object: checkpoints keep it, and build the model from it again.
MODEL = {
    "_target_": "convlstm.models.EncoderForecaster",
    "in_channels": 1,
    "hidden_channels": [64],
    "kernel_size": 3,
    "patch_size": 4,
    # It predicts its inputs, too, and starts from the mean of the data: that saves the first hundreds of steps.
    "next_frame_weight": 1.0,
    "output_mean": 0.07,
}


class Windows:
    """All windows of a series of frames, as training, validation and test data that follow each other in time.

    A batch has `inputs` (N, input_frames, H, W, C) and `targets` (N, target_frames, H, W, C) in [0, 1], and of a series
    with missing pixels, NaN, also `mask`, which is zero where a target is not known. Missing inputs count as 0.

    Args:
        frames: Physical values (T, H, W) or (T, H, W, C).
        scale: From physical values to [0, 1] and back.
        input_frames: Frames that a forecast is made from. Default: 5.
        target_frames: Frames to forecast. Default: 5.
        shares: Of the series that is for training, validation and test. Default: (0.7, 0.1, 0.2).

    Raises:
        ValueError: A part of the series is shorter than a window.
    """

    def __init__(
        self,
        frames: np.ndarray,
        scale: RadarTransform,
        *,
        input_frames: int = 5,
        target_frames: int = 5,
        shares: Sequence[float] = (0.7, 0.1, 0.2),
    ):
        self.frames = frames if frames.ndim == 4 else frames[..., None]
        self.scale, self.input_frames, self.target_frames = scale, input_frames, target_frames
        self.missing = bool(np.isnan(self.frames).any())
        length = input_frames + target_frames
        ends = np.round(np.cumsum(shares) / sum(shares) * len(frames)).astype(int)
        # No frame is in two parts.
        parts = zip(SPLITS, [0, *ends], ends, strict=False)
        self.starts = {split: range(start, end - length + 1) for split, start, end in parts}
        for split, starts in self.starts.items():
            if len(starts) == 0:
                raise ValueError(
                    f"[Windows] 'frames' are {len(frames)}, of which too few are for {split}: a window has {length}. "
                    "Give more, or other 'shares'."
                )

    def size(self, split: str) -> int:
        """Number of windows."""
        return len(self.starts[split])

    def describe(self) -> dict[str, Any]:
        """What checkpoints keep of the data: a `Forecaster` takes its scale and its lengths from here."""
        record = {"name": "own arrays", "frame_shape": list(self.frames.shape[1:]), "transform": self.scale.describe()}
        return record | {"input_frames": self.input_frames, "target_frames": self.target_frames}

    def load(self, split: str, index: int) -> Mapping[str, np.ndarray]:
        """Window `index` of a split."""
        start = self.starts[split][index]
        window = self.frames[start : start + self.input_frames + self.target_frames]
        values = np.nan_to_num(self.scale.forward(window)).astype(np.float32)
        sample = {"inputs": values[: self.input_frames], "targets": values[self.input_frames :]}
        return sample | ({"mask": ~np.isnan(window[self.input_frames :])} if self.missing else {})

    def stream(self, split: str, batch_size: int, **place: int) -> BatchStream:
        """The batches of an epoch; `place` is seed, epoch, start, and the share of several processes."""
        train = split == "train"
        return batches(
            self.size(split), lambda n: self.load(split, n), batch_size, shuffle=train, drop_last=train, **place
        )


def drifting_spots(frames: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Warm spots in a current that turns, each with a way of its own: (T, H, W) in degrees, 0 to 30."""
    y, x = np.mgrid[:size, :size]
    angle = 2 * np.pi * np.arange(frames) / 150
    drift = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=1), axis=0)
    sea = np.zeros((frames, size, size), np.float32)
    for _ in range(4):
        place, own = rng.uniform(0, size, 2), rng.uniform(-0.3, 0.3, 2)
        for t, frame in enumerate(sea):
            row, column = place + drift[t] + own * t
            # The way to the nearest of the spot's images.
            dy, dx = ((d + size / 2) % size - size / 2 for d in (y - row, x - column))
            frame += 15 * np.exp(-(dy**2 + dx**2) / (2 * (size / 12) ** 2))
    return np.minimum(sea, 30)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/own_arrays", help="the run's folder (default runs/own_arrays)")
    parser.add_argument("--steps", type=int, default=250, help="steps of training (default 250)")
    parser.add_argument("--frames", type=int, default=600, help="frames of the made-up series (default 600)")
    parser.add_argument("--size", type=int, default=32, help="their side in pixels (default 32)")
    given = parser.parse_args(argv)

    frames = drifting_spots(given.frames, given.size, np.random.default_rng(0))  # yours: np.load("mine.npy")
    data = Windows(frames, Linear(scale=30.0))

    mx.random.seed(0)
    model = build(MODEL)
    optimizer = optim.Adam(learning_rate=cosine(5e-3, given.steps))
    trainer = Trainer(max_steps=given.steps, batch_size=8, max_grad_norm=1.0, validate_every=max(1, given.steps // 3))
    trainer.check(model, MeanSquaredError(), data)
    # A run that the folder holds already is renamed to runs/own_arrays.old-1; resume=True would continue it instead.
    trainer.fit(model, optimizer, MeanSquaredError(), data, given.out, {"model": MODEL}, overwrite=True)

    # The best checkpoint, on the part of the series that training never saw, beside what it must beat.
    forecaster = Forecaster.load(given.out)
    result = evaluate({"model": forecaster.model, "persistence": Persistence()}, data.stream("test", 16))
    print(table(result))

    # What follows the last frames there are, in degrees: any horizon, and no truth is needed.
    forecast = forecaster(frames, 10)
    np.save(Path(given.out) / "forecast.npy", forecast)
    print(f"{Path(given.out) / 'forecast.npy'}: {forecast.shape}, {forecast.min():.1f} to {forecast.max():.1f} degrees")


if __name__ == "__main__":
    main()
