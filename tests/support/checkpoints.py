"""Checkpoints of a tiny model, and ways to damage their files."""

from __future__ import annotations

from pathlib import Path

from convlstm import checkpoints
from convlstm.runs.progress import Progress
from tests.support.tiny import Fade

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map

CONFIG = {"model": {"_target_": "tests.support.tiny.Fade"}, "seed": 0}
FILES = [*checkpoints.FILES, "ema.safetensors", "checksums.json"]


def save_step(place: Path, step: int, *, padding: int = 1, keep: int = 1) -> None:
    """Writes a checkpoint with averaged weights whose values depend on the step; `padding` floats make it larger."""
    model, optimizer = Fade(float(step)), optim.SGD(0.1, momentum=0.9)
    optimizer.init(model.trainable_parameters())
    optimizer.state["step"] = mx.array(step, mx.uint64)
    model.bias = mx.full((padding,), 0.5)
    ema = {"weight": mx.array([step + 0.5]), "bias": model.bias}
    checkpoints.save(place, model, optimizer, vars(Progress(step=step)), CONFIG, ema=ema, keep=keep)


def three_steps(folder: Path) -> Path:
    """Writes a run with `last` of step 3, `last.previous` of step 2, and `best` of step 1, and returns its folder."""
    for name, step in (("best", 1), ("last", 2), ("last", 3)):
        save_step(folder / "checkpoints" / name, step)
    return folder


def shorter(path):
    path.write_bytes(path.read_bytes()[:-5])


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def longer(path):
    path.write_bytes(path.read_bytes() + b"\0")


def flipped(path, place=None, bit=0):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1 << bit
    path.write_bytes(content)


def garbled(path):
    path.write_bytes(b"\x00\xff not this" * 20)


def missing(path):
    path.unlink()


def folder(path):
    path.unlink()
    path.mkdir()


def fading(weight=0.5, steps=0, optimizer=None):
    """Returns a model and its optimizer after some steps with a gradient of one."""
    model, optimizer = Fade(weight), optimizer or optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    for _ in range(steps):
        optimizer.update(model, tree_map(mx.ones_like, model.trainable_parameters()))
    return model, optimizer


def plain(tree):
    """Returns a tree's arrays by name, as lists."""
    return {name: np.array(array).tolist() for name, array in tree_flatten(tree)}


def saved(folder, weight=0.5, steps=3):
    """Writes a checkpoint and returns its model and optimizer."""
    model, optimizer = fading(weight, steps)
    checkpoints.save(folder, model, optimizer, vars(Progress(step=steps)), CONFIG)
    return model, optimizer
