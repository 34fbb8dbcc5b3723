"""Diagnostics of training: the size of the updates, and the reproduction of a step that was not finite.

`python -m convlstm.training.diagnostics FOLDER` reproduces such a step.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.backend.plain_files import open_plain, parse_json, read_bytes
from convlstm.checkpoints.build import TRUSTED, build
from convlstm.checkpoints.frozen import freeze, recorded_patterns, training_mode
from convlstm.checkpoints.own_runs import trusted_packages
from convlstm.losses import Loss
from convlstm.training.batches import Arrays, Batches
from convlstm.training.precision import check_precision
from convlstm.training.step import make_step, number, to_device

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten

FOLDER, REPORT, BATCH, CHECKPOINT = "non_finite", "report.json", "batch.npz", "checkpoint"


class NonFiniteLossError(RuntimeError):
    """The loss, or the norm of its gradient, was NaN or infinite for too many steps in a row."""


def weights(model: nn.Module) -> dict[str, mx.array]:
    """Returns the model's current trainable weights by name."""
    return tree_flatten(model.trainable_parameters(), destination={})  # type: ignore[return-value]


def update_ratio(before: dict[str, mx.array], after: dict[str, mx.array]) -> float:
    """Returns |after - before| / |before|, norms over all weights. NaN if all weights were zero."""
    norms = [mx.zeros(()), mx.zeros(())]
    for name, array in before.items():
        w = array.astype(mx.float32)
        norms[0] += mx.square(after[name].astype(mx.float32) - w).sum()
        norms[1] += mx.square(w).sum()
    return number(mx.sqrt(norms[0] / norms[1]))


def peak_memory() -> float:
    """Returns the most memory that MLX has used at once in this process, in MB of 10^6 bytes."""
    return mx.get_peak_memory() / 1e6


def non_finite(loss: float, norm: float) -> str:
    """Returns a text that says whether the loss or the norm is not finite, or "" if both are finite."""
    if not math.isfinite(loss):
        return f"the loss became {loss}"
    return "" if math.isfinite(norm) else f"the norm of the gradient became {norm}"


@dataclass
class FailedStep:
    """A step whose loss or gradient was not finite.

    Attributes:
        step: Number of the step, from 1.
        loss, gradient_norm: The values that were computed.
        learning_rate: Learning rate of the step.
        parts: Number of parts of the batch, all ranks together.
        precision: Precision of the model's pass.
        truth_share: Probabilities of scheduled sampling, or None.
    """

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    parts: int = 1
    precision: str = "float32"
    truth_share: list[float] | None = None

    @property
    def folder(self) -> str:
        """Path of the step's files within the run's folder."""
        return f"{FOLDER}/step_{self.step}"


def dump(folder: Path, failed: FailedStep, loss: Loss, batches: Batches, batch: Arrays) -> None:
    """Writes the files that `reproduce` needs, except the checkpoint before the step.

    Args:
        folder: Folder to write to.
        failed: The step.
        loss: The loss that was minimised.
        batches: The batches of the run, for the random key of the step and the sequences of its batch.
        batch: The batch of the step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    epoch, position = batches.position(failed.step - 1)
    report = asdict(failed) | {
        "epoch": epoch,
        "batch": position,
        "sequences": batches.indices(failed.step - 1),
        "seed": batches.seed,
        "key": batches.key(failed.step - 1).tolist(),
        "minimised": description(loss),
    }
    np.savez_compressed(folder / BATCH, **batch)  # type: ignore[arg-type]
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def description(value: Any) -> Any:
    """Returns a description from which `build` creates an equal object.

    Returns None for an object that does not keep its arguments as attributes of the same names.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [description(item) for item in value]
    cls = type(value)
    try:
        arguments = {name: description(getattr(value, name)) for name in inspect.signature(cls).parameters}
    except (AttributeError, ValueError):
        return None
    return {"_target_": f"{cls.__module__}.{cls.__qualname__}"} | arguments


def reproduce(
    folder: str | Path, *, model: nn.Module | None = None, loss: Loss | None = None, trusted: Sequence[str] = TRUSTED
) -> tuple[float, float]:
    """Computes a failed step once more, and returns the loss and the norm of the gradient.

    Args:
        folder: `non_finite/step_N` in a run's folder.
        model: Model that takes the weights. Default: the model that the configuration describes.
        loss: Loss to compute. Default: the one that was minimised, if it is defined in `convlstm.losses` or in a
            package that is named as trusted.
        trusted: Packages whose classes the configuration may name, as for `convlstm.load`.

    Raises:
        ValueError: There is no such step, or the loss that was minimised cannot be built again.
        CheckpointError: The checkpoint beside it is damaged.
    """
    folder = Path(folder)
    try:
        report = parse_json(read_bytes(folder / REPORT, 1 << 24))
        with open_plain(folder / BATCH) as file, np.load(file) as arrays:
            batch = to_device(dict(arrays))
    except FileNotFoundError as error:
        raise ValueError(
            f"[reproduce] 'folder' must be the {FOLDER}/step_N of a run but '{error.filename}' does not exist. Name "
            "another one."
        ) from error
    config = checkpoints.read_config(folder / CHECKPOINT)
    trusted = (*trusted, *trusted_packages(folder.resolve().parent.parent, config))
    model = build(config["model"], trusted, nn.Module) if model is None else model
    if loss is None:
        loss = build(report["minimised"], ["convlstm.losses", *(name for name in trusted if name not in TRUSTED)])
    if not callable(loss):
        raise ValueError("[reproduce] 'loss' must be given, since the one that was minimised cannot be built again.")
    checkpoints.load_weights(folder / CHECKPOINT, model)
    freeze(model, recorded_patterns(config))
    training_mode(model)
    optimizer = optim.SGD(0.0)
    optimizer.init(model.trainable_parameters())
    share = report["truth_share"]
    step = make_step(
        model,
        optimizer,
        loss,
        precision=check_precision("reproduce", report["precision"]),
        parts=report["parts"],
        sampling=None if share is None else lambda step: mx.array(share),
    )
    value, norm = step(batch, mx.array(report["key"], mx.uint32), report["step"] - 1)
    return number(value), number(norm)


def main(arguments: list[str]) -> None:
    """Computes a failed step once more and prints its values; a `NonFiniteLossError` names the command."""
    if len(arguments) != 1:
        sys.exit(f"usage: python -m convlstm.training.diagnostics runs/NAME/{FOLDER}/step_N")
    try:
        value, norm = reproduce(arguments[0])
    except ValueError as error:
        sys.exit(str(error))
    print(f"loss {value}, norm of the gradient {norm}")


if __name__ == "__main__":
    main(sys.argv[1:])
