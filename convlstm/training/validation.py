"""The scores of a model on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from convlstm.losses import Loss
from convlstm.metrics import HIGHER_IS_BETTER, FrameMetrics
from convlstm.training.batches import Arrays
from convlstm.training.step import number, to_device

import mlx.core as mx
import numpy as np

SCORES = ("mse_per_frame", "mae_per_frame", "psnr")
MONITORED = ("val_loss", *(f"val_{name}" for name in SCORES))


def validate(
    forecast: Callable[[mx.array, int], mx.array], loss: Loss, batches: Iterable[tuple[Arrays, int]]
) -> dict[str, float]:
    """The scores by column of `metrics.csv`, `MONITORED`.

    Args:
        forecast: Called as `forecast(inputs, horizon)`.
        loss: Called as `loss(forecast, targets, mask)`.
        batches: Each with the number of its sequences, from the first, that are scored.
    """
    metrics = FrameMetrics(ssim=False)
    losses: list[float] = []
    counts: list[int] = []
    for batch, take in batches:
        arrays = {name: array[:take] for name, array in to_device(batch).items()}
        targets, mask = arrays["targets"], arrays.get("mask")
        y = forecast(arrays["inputs"], targets.shape[1])
        losses.append(number(loss(y, targets, mask)))
        counts.append(take)
        metrics.update(np.array(y), np.array(targets), None if mask is None else np.array(mask))
    scores = metrics.compute()
    row = {"val_loss": float(np.average(losses, weights=counts))}
    return row | {f"val_{name}": float(scores[name]["overall"]) for name in SCORES}


def better(monitor: str, value: float, best: float) -> bool:
    """Whether a value of the monitored score is better than the best."""
    return value > best if monitor.removeprefix("val_") in HIGHER_IS_BETTER else value < best
