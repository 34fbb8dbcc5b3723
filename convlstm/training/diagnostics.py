"""The health of training: how far a step moves the weights, and what is left where the loss is not finite."""

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
from convlstm.checkpoints.build import TRUSTED, build
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


def copies(model: nn.Module) -> dict[str, mx.array]:
    """The model's trainable weights by name, as they are now."""
    return tree_flatten(model.trainable_parameters(), destination={})  # type: ignore[return-value]


def update_ratio(before: dict[str, mx.array], after: dict[str, mx.array]) -> float:
    """|after - before| / |before|, norms over all weights: how far a step moved them. NaN where all were zero."""
    norms = [mx.zeros(()), mx.zeros(())]
    for name, array in before.items():
        w = array.astype(mx.float32)
        norms[0] += mx.square(after[name].astype(mx.float32) - w).sum()
        norms[1] += mx.square(w).sum()
    return number(mx.sqrt(norms[0] / norms[1]))


def peak_memory() -> float:
    """The most memory that MLX had at once in this process, in MB of 10^6 bytes."""
    return mx.get_peak_memory() / 1e6


def non_finite(loss: float, norm: float) -> str:
    """What is not finite, in words; "" where both are."""
    if not math.isfinite(loss):
        return f"the loss became {loss}"
    return "" if math.isfinite(norm) else f"the norm of the gradient became {norm}"


@dataclass
class FailedStep:
    """What a step that was not finite came to.

    Attributes:
        step: Its number, the first being 1.
        loss, gradient_norm: What was computed.
        learning_rate: That it would have had.
        parts: In which its batch went through the model, all ranks together.
        precision: Of the model's pass.
        truth_share: What scheduled sampling gave the model, or None.
    """

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    parts: int = 1
    precision: str = "float32"
    truth_share: list[float] | None = None

    @property
    def place(self) -> str:
        """Where it is kept in a run's folder."""
        return f"{FOLDER}/step_{self.step}"


def dump(folder: Path, failed: FailedStep, loss: Loss, batches: Batches, batch: Arrays) -> None:
    """Keeps what a step can be computed from again, beside the checkpoint from before it: see `reproduce`.

    Args:
        folder: Where to.
        failed: The step.
        loss: What was minimised.
        batches: The run's, which know the step's random key and which sequences are in its batch.
        batch: The batch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    epoch, place = batches.place(failed.step - 1)
    report = asdict(failed) | {
        "epoch": epoch,
        "batch": place,
        "sequences": batches.indices(failed.step - 1),
        "seed": batches.seed,
        "key": batches.key(failed.step - 1).tolist(),
        "minimised": description(loss),
    }
    np.savez_compressed(folder / BATCH, **batch)  # type: ignore[arg-type]
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def description(value: Any) -> Any:
    """What `build` makes the like of a value from; None for one that does not keep its arguments under their names."""
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
    """The loss and the norm of the gradient of a step that `dump` has kept, computed again.

    Args:
        folder: `non_finite/step_N` in a run's folder.
        model: What takes the weights. Default: the model that the configuration describes.
        loss: Default: the one that was minimised, if it is one of `convlstm.losses` or of a package named as trusted.
        trusted: Packages whose classes the configuration may name. Default: as for `convlstm.load`.

    Raises:
        ValueError: There is no such step, or the loss that was minimised cannot be made again.
        CheckpointError: The checkpoint beside it is damaged.
    """
    folder = Path(folder)
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        with np.load(folder / BATCH) as arrays:
            batch = to_device(dict(arrays))
    except FileNotFoundError as error:
        raise ValueError(
            f"[reproduce] 'folder' must be the {FOLDER}/step_N of a run but '{error.filename}' does not exist. Name "
            "another one."
        ) from error
    config = checkpoints.read_config(folder / CHECKPOINT)
    model = build(config["model"], trusted, nn.Module) if model is None else model
    if loss is None:
        loss = build(report["minimised"], ["convlstm.losses", *(name for name in trusted if name not in TRUSTED)])
    if not callable(loss):
        raise ValueError("[reproduce] 'loss' must be given, since the one that was minimised cannot be made again.")
    checkpoints.load_weights(folder / CHECKPOINT, model)
    model.train()
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
    """The command that a run prints when it ends for this."""
    if len(arguments) != 1:
        sys.exit(f"usage: python -m convlstm.training.diagnostics runs/NAME/{FOLDER}/step_N")
    try:
        value, norm = reproduce(arguments[0])
    except ValueError as error:
        sys.exit(str(error))
    print(f"loss {value}, norm of the gradient {norm}")


if __name__ == "__main__":
    main(sys.argv[1:])
