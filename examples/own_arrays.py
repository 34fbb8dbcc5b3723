"""Trains on your own NumPy arrays, without configuration files: `python examples/own_arrays.py`, a minute on two cores.

The arrays of the example are invented: warm spots that drift in a sea. Replace `drifting_spots` by your own arrays.
The folder `runs/own_arrays` is a run like any other: `forecast.py ckpt=runs/own_arrays input=FRAMES.npy` also reads it.
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
from convlstm.datasets.transforms import Linear, Transform
from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import table
from convlstm.losses import MeanSquaredError
from convlstm.training.loop import Trainer
from convlstm.training.schedules import cosine

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

SPLITS = ("train", "validation", "test")
# A description instead of an object: checkpoints keep it, and rebuild the model from it.
MODEL = {
    "_target_": "convlstm.models.EncoderForecaster",
    "in_channels": 1,
    "hidden_channels": [64],
    "kernel_size": 3,
    "patch_size": 4,
    # The model also predicts its inputs, and starts from the mean of the data: that saves hundreds of steps.
    "next_frame_weight": 1.0,
    "output_mean": 0.07,
}


class Windows:
    """All windows of a series of frames; its splits for training, validation and test follow each other in time.

    A batch has `inputs` (N, input_frames, H, W, C) and `targets` (N, target_frames, H, W, C) in [0, 1]. If the series
    has missing pixels, NaN, a batch also has a `mask`, which is zero for unknown targets. Missing inputs count as 0.

    Args:
        frames: Physical values (T, H, W) or (T, H, W, C).
        scale: Converts physical values to [0, 1] and back.
        input_frames: Number of frames that a forecast reads. Default: 5.
        target_frames: Number of frames to forecast. Default: 5.
        shares: Shares of the series for training, validation and test. Default: (0.7, 0.1, 0.2).

    Raises:
        ValueError: A split is shorter than a window.
    """

    def __init__(
        self,
        frames: np.ndarray,
        scale: Transform,
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
        # No frame belongs to two splits.
        splits = zip(SPLITS, [0, *ends], ends, strict=False)
        self.starts = {split: range(start, end - length + 1) for split, start, end in splits}
        for split, starts in self.starts.items():
            if len(starts) == 0:
                raise ValueError(
                    f"[Windows] 'frames' must be enough for a window of {length} in each split but got {len(frames)}, "
                    f"too few for {split}. Give more, or other 'shares'."
                )

    def size(self, split: str) -> int:
        """Returns the number of windows of a split."""
        return len(self.starts[split])

    def describe(self) -> dict[str, Any]:
        """Returns the record of the data in checkpoints, from which a `Forecaster` takes the scale and the lengths."""
        record = {"name": "own arrays", "frame_shape": list(self.frames.shape[1:]), "transform": self.scale.describe()}
        return record | {"input_frames": self.input_frames, "target_frames": self.target_frames}

    def load(self, split: str, index: int) -> Mapping[str, np.ndarray]:
        """Returns a window of a split by its number."""
        start = self.starts[split][index]
        window = self.frames[start : start + self.input_frames + self.target_frames]
        values = np.nan_to_num(self.scale.forward(window)).astype(np.float32)
        sample = {"inputs": values[: self.input_frames], "targets": values[self.input_frames :]}
        return sample | ({"mask": ~np.isnan(window[self.input_frames :])} if self.missing else {})

    def stream(self, split: str, batch_size: int, **position: int) -> BatchStream:
        """Returns the batches of an epoch; `position` is seed, epoch, start, rank and number of ranks."""
        train = split == "train"
        return batches(
            self.size(split), lambda n: self.load(split, n), batch_size, shuffle=train, drop_last=train, **position
        )


def drifting_spots(frames: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns warm spots that drift in a turning current, each with its own motion: (T, H, W) in degrees, 0 to 30."""
    y, x = np.mgrid[:size, :size]
    angle = 2 * np.pi * np.arange(frames) / 150
    drift = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=1), axis=0)
    sea = np.zeros((frames, size, size), np.float32)
    for _ in range(4):
        start, velocity = rng.uniform(0, size, 2), rng.uniform(-0.3, 0.3, 2)
        for t, frame in enumerate(sea):
            row, column = start + drift[t] + velocity * t
            # The distance to the nearest image of the spot, since the sea is periodic.
            dy, dx = ((d + size / 2) % size - size / 2 for d in (y - row, x - column))
            frame += 15 * np.exp(-(dy**2 + dx**2) / (2 * (size / 12) ** 2))
    return np.minimum(sea, 30)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/own_arrays", help="the run's folder (default runs/own_arrays)")
    parser.add_argument("--steps", type=int, default=250, help="steps of training (default 250)")
    parser.add_argument("--frames", type=int, default=600, help="frames of the invented series (default 600)")
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

    # Scores of the best checkpoint on the test split, beside the baseline that it must beat.
    forecaster = Forecaster.load(given.out)
    result = evaluate({"model": forecaster.model, "persistence": Persistence()}, data.stream("test", 16))
    print(table(result))

    # The ten frames after the last known ones, in degrees. Any horizon works, and no truth is needed.
    forecast = forecaster(frames, 10)
    np.save(Path(given.out) / "forecast.npy", forecast)
    print(f"{Path(given.out) / 'forecast.npy'}: {forecast.shape}, {forecast.min():.1f} to {forecast.max():.1f} degrees")


if __name__ == "__main__":
    main()
