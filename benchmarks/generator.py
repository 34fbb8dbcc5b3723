"""Batches of Moving-MNIST, from the project's stream and from the usual loop in plain NumPy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks.workload import Workload
from convlstm.datasets.digits import load_digits
from convlstm.datasets.moving_mnist import MovingMNIST, bounce

import numpy as np

BATCH = 16
STEP = 0.1
DIGITS = 2


def draws(number: int) -> np.ndarray:
    """Returns starts and angles for a comparison of both sides' paths, (number, 3)."""
    return np.random.default_rng(0).random((number, 3))


class Ours:
    """Batches of `convlstm.datasets.moving_mnist` with float32 frames."""

    def __init__(self, workload: Workload, problem: Path, options: dict[str, Any]):
        self.sequences, self.frames, self.size = workload.inputs[:3]
        self.data = MovingMNIST(
            digits="builtin",
            frame_size=self.size,
            num_digits=DIGITS,
            step=STEP,
            input_frames=self.frames // 2,
            target_frames=self.frames - self.frames // 2,
            train_sequences=self.sequences,
        )
        self.epoch = 0

    def run(self) -> None:
        """Draws the batches of an epoch."""
        for _ in self._epoch():
            pass

    def check(self) -> dict[str, np.ndarray]:
        """Returns the paths of given draws, and the mean pixel."""
        free = self.size - 28
        paths = [
            (
                bounce(y, STEP * math.sin(2 * math.pi * turn), self.frames, free),
                bounce(x, STEP * math.cos(2 * math.pi * turn), self.frames, free),
            )
            for y, x, turn in draws(200).tolist()
        ]
        batches = [np.concatenate([b["inputs"], b["targets"]], axis=1) for b in self._epoch()]
        return {"paths": np.array(paths), "mean": np.mean(batches)}

    def _epoch(self):
        self.epoch += 1
        return self.data.stream("train", BATCH, epoch=self.epoch)


class Plain:
    """The loop of OpenSTL and PredRNN, which draws each digit into each frame with np.maximum and divides by 255.

    Source: the generator of Srivastava et al., 2015, in the form that those projects use.
    """

    def __init__(self, workload: Workload, problem: Path, options: dict[str, Any]):
        self.sequences, self.frames, self.size = workload.inputs[:3]
        self.digits = load_digits("builtin").train
        self.rng = np.random.default_rng(0)

    def run(self) -> None:
        """Draws as many batches as the other side's epoch has."""
        for _ in range(self.sequences // BATCH):
            self._batch()

    def check(self) -> dict[str, np.ndarray]:
        """Returns the paths of given draws, and the mean pixel."""
        paths = [self._path(y, x, 2 * np.pi * turn) for y, x, turn in draws(200).tolist()]
        return {"paths": np.array(paths), "mean": np.mean([self._batch() for _ in range(self.sequences // BATCH)])}

    def _batch(self) -> np.ndarray:
        return np.stack([self._sequence() for _ in range(BATCH)])

    def _sequence(self) -> np.ndarray:
        frames = np.zeros((self.frames, self.size, self.size), np.float32)
        for _ in range(DIGITS):
            y, x, turn = self.rng.random(), self.rng.random(), self.rng.random()
            tops, lefts = self._path(y, x, 2 * np.pi * turn)
            digit = self.digits[self.rng.integers(len(self.digits))].copy()
            size = digit.shape[0]
            for t in range(self.frames):
                top, left = tops[t], lefts[t]
                place = frames[t, top : top + size, left : left + size]
                frames[t, top : top + size, left : left + size] = np.maximum(place, digit)
        return (frames[..., None] / 255.0).astype(np.float32)

    def _path(self, y: float, x: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
        free = self.size - self.digits.shape[-1]
        vy, vx = np.sin(angle), np.cos(angle)
        ys, xs = np.zeros(self.frames), np.zeros(self.frames)
        for t in range(self.frames):
            y += vy * STEP
            x += vx * STEP
            if x <= 0:
                x, vx = 0.0, -vx
            if x >= 1:
                x, vx = 1.0, -vx
            if y <= 0:
                y, vy = 0.0, -vy
            if y >= 1:
                y, vy = 1.0, -vy
            ys[t], xs[t] = y, x
        return (free * ys).astype(np.int32), (free * xs).astype(np.int32)
