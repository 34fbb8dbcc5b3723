"""The smallest possible runs, for the tests of training, evaluation and the commands.

With `data._target_=tests.support.tiny.Data` the data can also disturb the program that reads it: TINY_STOP is
`SIGNAL:EPOCH:INDEX`, the signal that the program sends to itself when it loads that training sequence.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from convlstm.datasets.digits import Digits
from convlstm.datasets.moving_mnist import MovingMNIST
from tests.support.project import PROJECT

import mlx.core as mx
import mlx.nn as nn
import numpy as np

TESTS = PROJECT / "tests"

# An epoch has 11 steps. Rows of losses, validations and checkpoints fall on different steps.
OVERRIDES = (
    "data._target_=tests.support.tiny.Data",
    "data.digits=builtin",
    "data.frame_size=16",
    "data.digit_size=8",
    "data.num_digits=1",
    "data.input_frames=3",
    "data.target_frames=3",
    "data.train_sequences=22",
    "data.validation_sequences=5",
    "data.test_sequences=5",
    "model.hidden_channels=[4]",
    "model.kernel_size=3",
    "trainer.batch_size=2",
    "trainer.log_every=3",
    "trainer.validate_every=10",
    "trainer.checkpoint_every=4",
)


def blots(seed: int = 0) -> Digits:
    """Returns images that take no time to draw."""
    rng = np.random.default_rng(seed)
    return Digits(*(rng.integers(0, 256, (n, 8, 8), np.uint8) for n in (30, 10)), "builtin")


class Data(MovingMNIST):
    """Moving-MNIST without MNIST; TINY_DIGITS is the seed of its digits."""

    def __init__(self, *, digits: str = "builtin", **arguments):
        super().__init__(digits=blots(int(os.environ.get("TINY_DIGITS", 0))), **arguments)
        if os.environ.get("TINY_START") == "slow":
            print("starting", flush=True)
            time.sleep(60)

    def sample(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> dict[str, np.ndarray]:
        if stop := os.environ.get("TINY_STOP"):
            number, *place = map(int, stop.split(":"))
            if split == "train" and place == [epoch, index]:
                os.kill(os.getpid(), number)
        if os.environ.get("TINY_BROKEN") == f"{split}:{epoch}:{index}":
            raise KeyError("no such frame")
        return super().sample(split, index, seed=seed, epoch=epoch)


class Fade(nn.Module):
    """A model whose training can be followed by hand: the last frame times a weight, plus a bias."""

    def __init__(self, weight: float = 0.5, bias: float = 0.1, dropout: float = 0.0):
        super().__init__()
        self.weight, self.bias, self.dropout = mx.array([weight]), mx.array([bias]), dropout

    def __call__(self, inputs, horizon, *, key=None):
        last = inputs[:, -1:]
        if self.training and self.dropout:
            last = last * mx.random.bernoulli(1 - self.dropout, last.shape, key=key)
        return mx.repeat(last * self.weight + self.bias, horizon, axis=1)


def environment(**variables: str) -> dict[str, str]:
    """Returns the environment of a program that can import this module."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), **variables}


def train(*overrides: str, **variables: str) -> subprocess.CompletedProcess:
    """Runs train.py as a program."""
    line = [sys.executable, "train.py", *OVERRIDES, *overrides]
    return subprocess.run(line, cwd=PROJECT, env=environment(**variables), capture_output=True, text=True, timeout=300)


def stop_at(number: signal.Signals, step: int) -> str:
    """Returns TINY_STOP for a signal during a step around `step`: data is loaded a few steps ahead."""
    epoch, batch = divmod(step, 11)
    return f"{number.value}:{epoch}:{2 * batch}"


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns the content of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def call(command: str, monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Calls a command within this process; returns its exit status, standard output and standard error."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; this takes it back after the test
    monkeypatch.setattr(sys, "argv", [f"{command}.py", *arguments])
    capsys.readouterr()
    status: int | str | None = 0
    try:
        importlib.import_module(f"convlstm.cli.{command}").main()
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    if isinstance(status, str):  # what Python prints at the end of the program
        return 1, out, err + status
    return status or 0, out, err
