"""Training losses: `loss(forecast, target, mask=None)`, arrays (N, T, H, W, C) in, a scalar out.

Each is a mean over the values that count: all of them, or those where `mask` (broadcast to the target) is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx

Loss = Callable[..., mx.array]


def masked_mean(
    error: Callable[[mx.array, mx.array], mx.array], forecast: mx.array, target: mx.array, mask: mx.array | None
) -> mx.array:
    """Mean of `error(forecast, target)` where `mask` is not zero; 0 where none counts.

    Raises:
        ValueError: Forecast and target have different shapes.
    """
    if forecast.shape != target.shape:
        raise ValueError(
            f"[loss] 'forecast' and 'target' must have the same shape but got {forecast.shape} and {target.shape}."
        )
    if mask is None:
        return _sum(error(forecast, target)) / target.size
    mask = mx.broadcast_to(mask, target.shape) != 0
    # Missing values are replaced before the error too: its gradient at a NaN is NaN, and 0 times that is NaN again.
    values = error(mx.where(mask, forecast, 0), mx.where(mask, target, 0))
    return _sum(mx.where(mask, values, 0)) / mx.maximum(mask.sum(), 1)


def _sum(values: mx.array) -> mx.array:
    # Frame by frame: on a CPU, MLX adds all of a large array to one float32, which loses three digits.
    return values.sum(axis=tuple(range(2, values.ndim))).sum()


class MeanSquaredError:
    """Mean of (forecast - target)^2 per pixel."""

    def __call__(self, forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        return masked_mean(lambda forecast, target: mx.square(forecast - target), forecast, target, mask)


class MeanAbsoluteError:
    """Mean of |forecast - target| per pixel."""

    def __call__(self, forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        return masked_mean(lambda forecast, target: mx.abs(forecast - target), forecast, target, mask)


class BinaryCrossEntropy:
    """Mean of -target log(forecast) - (1 - target) log(1 - forecast) per pixel, in nats.

    The loss of Shi et al., 2015. Forecasts are probabilities, so the model ends in a sigmoid; they are drawn
    `epsilon` away from 0 and 1, where the logarithm is infinite. Drawn, not cut off: a pixel that is certain and wrong
    still has a gradient.
    """

    def __init__(self, epsilon: float = 1e-6):
        if not 1e-7 <= epsilon < 0.5:
            raise ValueError(
                f"[BinaryCrossEntropy] 'epsilon' must be at least 1e-7 and below 0.5 but got {epsilon}: float32 cannot "
                "tell 1 from a number that is nearer."
            )
        self.epsilon = epsilon

    def __call__(self, forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        def error(forecast: mx.array, target: mx.array) -> mx.array:
            p = self.epsilon + (1 - 2 * self.epsilon) * forecast
            return -target * mx.log(p) - (1 - target) * mx.log1p(-p)

        return masked_mean(error, forecast, target, mask)


class WeightedSum:
    """Sum of losses, each times its weight.

    Args:
        losses: The losses.
        weights: One number a loss. Default: 1 each.
    """

    def __init__(self, losses: Sequence[Loss], weights: Sequence[float] | None = None):
        weights = [1.0] * len(losses) if weights is None else list(weights)
        if len(weights) != len(losses):
            raise ValueError(f"[WeightedSum] got {len(losses)} losses but {len(weights)} 'weights'. Give one a loss.")
        self.losses, self.weights = list(losses), weights

    def __call__(self, forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        terms = [w * loss(forecast, target, mask) for w, loss in zip(self.weights, self.losses, strict=True)]
        return mx.stack(terms).sum()
