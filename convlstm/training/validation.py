"""Validation: the scores of a model on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from convlstm.backend.signals import StopRequested
from convlstm.backend.stop_guard import computing
from convlstm.distributed.ranks import ALONE, Ranks
from convlstm.losses import Loss
from convlstm.metrics import FrameMetrics, logged_score
from convlstm.metrics.table import FRAMES
from convlstm.training.batches import Arrays, DataError
from convlstm.training.replicas import raise_on_all_ranks
from convlstm.training.step import number, to_device

import mlx.core as mx
import numpy as np

SCORES = tuple(name for name, score in FRAMES.items() if score.logged)
MONITORED = ("val_loss", *(f"val_{name}" for name in SCORES))


def validate(
    forecast: Callable[..., mx.array],
    loss: Loss,
    batches: Iterable[tuple[Arrays, int]],
    ranks: Ranks = ALONE,
    *,
    facts: Sequence[str] = (),
) -> dict[str, float]:
    """Returns the scores named in `MONITORED`, which are columns of `metrics.csv`. They are the same on every rank.

    Args:
        forecast: Called as `forecast(inputs, horizon)`, and with the facts. The frames of a forecast with members, (M,
            N, T, H, W, C), are scored by their mean.
        loss: Called as `loss(forecast, targets, mask)`.
        batches: Batches, each with the number of its first sequences to score. Ranks may have different numbers of
            batches.
        ranks: The processes whose scores are combined. Default: only this one.
        facts: Names of the facts in batches that the model wants to be told. Default: none.

    Raises:
        DataError: The data failed. If they fail on one rank, every rank raises it.
        StopRequested: A request to stop came. If it came on one rank, every rank raises it.
    """
    metrics = FrameMetrics(ssim=False)
    losses: list[float] = []
    weights: list[float] = []
    problem, stopped = None, False
    try:
        for batch, take in batches:
            with computing():
                arrays = {name: array[:take] for name, array in to_device(batch).items()}
                targets, mask = arrays["targets"], arrays.get("mask")
                options = {name: arrays[name] for name in facts if name in arrays}
                y = forecast(arrays["inputs"], targets.shape[1], **options)
                losses.append(number(loss(y, targets, mask)))
                weights.append(take * known_share(targets, mask))
                y = y if y.ndim == targets.ndim else y.mean(axis=0)
                metrics.update(np.array(y), np.array(targets), None if mask is None else np.array(mask))
    except DataError as error:
        problem = error
    except StopRequested:
        stopped = True
    raise_on_all_ranks(ranks, problem)
    if ranks.any(stopped)[0]:
        raise StopRequested
    if ranks.size > 1:
        metrics, losses, weights = combined(ranks, metrics, losses, weights)
    scores = metrics.compute()
    mean = float(np.average(losses, weights=weights)) if sum(weights) else float("nan")
    return {"val_loss": mean} | {f"val_{name}": float(scores[name]["overall"]) for name in SCORES}


def known_share(targets: mx.array, mask: mx.array | None) -> float:
    """Returns the share of the targets that are known: the values in the mean of the loss."""
    if mask is None:
        return 1.0
    return float(np.count_nonzero(np.broadcast_to(np.array(mask), targets.shape))) / targets.size


def combined(
    ranks: Ranks, metrics: FrameMetrics, losses: list[float], weights: list[float]
) -> tuple[FrameMetrics, list[float], list[float]]:
    """Returns metrics, losses and weights of all ranks, in the order of the ranks."""
    merged, all_losses, all_weights = FrameMetrics(ssim=metrics.ssim), [], []
    for state, rank_losses, rank_weights in ranks.gather([metrics.state(), losses, weights]):
        merged.merge(FrameMetrics.from_state(state))
        all_losses += rank_losses
        all_weights += rank_weights
    return merged, all_losses, all_weights


def better(monitor: str, value: float, best: float) -> bool:
    """Returns True if a value of the monitored score is better than the best one so far."""
    return value > best if logged_score(monitor).higher_is_better else value < best
