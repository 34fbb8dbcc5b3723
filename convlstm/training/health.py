"""The health of training: how far a step moves the weights, and what is left where the loss is not finite."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm.build import TRUSTED, build
from convlstm.losses import Loss
from convlstm.training import checkpoint
from convlstm.training.precision import check_precision
from convlstm.training.step import make_step, number, to_device

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten

FOLDER = "non_finite"
REPORT, BATCH, CHECKPOINT = "report.json", "batch.npz", "checkpoint"


class NonFiniteLossError(RuntimeError):
    """The loss, or the norm of its gradient, was NaN or infinite for too many steps in a row."""


def copies(model: nn.Module) -> dict[str, mx.array]:
    """The model's trainable weights by name, as they are now."""
    return tree_flatten(model.trainable_parameters(), destination={})  # type: ignore[return-value]


def update_ratio(before: dict[str, mx.array], after: dict[str, mx.array]) -> float:
    """|after - before| / |before|, norms over all weights: how far a step moved them. NaN where all were zero."""
    moved = sum(mx.square(after[name].astype(mx.float32) - w).sum() for name, w in before.items())
    size = sum(mx.square(w.astype(mx.float32)).sum() for w in before.values())
    return number(mx.sqrt(moved / size))  # type: ignore[arg-type, operator]


def non_finite(loss: float, norm: float) -> str:
    """What is not finite, in words; "" where both are."""
    if not math.isfinite(loss):
        return f"the loss became {loss}"
    return "" if math.isfinite(norm) else f"the norm of the gradient became {norm}"


def dump(folder: Path, report: dict[str, Any], batch: dict[str, np.ndarray]) -> None:
    """Writes what a step's loss can be computed from again, beside the checkpoint from before it: see `reproduce`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / BATCH, **batch)  # type: ignore[arg-type]
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def reproduce(
    folder: str | Path,
    *,
    model: nn.Module | None = None,
    loss: Loss | None = None,
    trusted: Sequence[str] = TRUSTED,
) -> tuple[float, float]:
    """The loss and the norm of the gradient of the step in a dump, computed again.

    Args:
        folder: `non_finite/step_N` in a run's folder.
        model: Whose weights are replaced by those of the dump. Default: the one in the dump's configuration.
        loss: Default: the one in the dump's configuration.
        trusted: Packages whose classes the configuration may name. Default: as for `convlstm.load`.
    """
    folder = Path(folder)
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    config = checkpoint.read_config(folder / CHECKPOINT)
    model = build(config["model"], trusted, nn.Module) if model is None else model
    loss = build(config["loss"], trusted) if loss is None else loss
    checkpoint.load_weights(folder / CHECKPOINT, model)
    model.train()
    with np.load(folder / BATCH) as arrays:
        batch = to_device(dict(arrays))
    optimizer = optim.SGD(0.0)
    optimizer.init(model.trainable_parameters())
    precision = check_precision("reproduce", report["precision"])
    step = make_step(model, optimizer, loss, precision=precision, parts=report["parts"])
    value, norm = step(batch, mx.array(report["key"], mx.uint32), report["step"] - 1)
    return number(value), number(norm)


if __name__ == "__main__":
    value, norm = reproduce(sys.argv[1])
    print(f"loss {value}, norm of the gradient {norm}")
