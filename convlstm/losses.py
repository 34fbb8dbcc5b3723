"""Training losses, called as `loss(forecast, target, mask=None)`: arrays (N, T, H, W, C) in, a scalar out.

Each divides the sum over the values that count by their number: N T H W C, or the number of those with a nonzero
`mask`, which broadcasts to the target. Weights of pixels do not change this number. With accumulated parts or several
processes it is that of the whole batch. `SoftCriticalSuccess` is no such mean, and says what it divides by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from convlstm.arguments import check_number, check_numbers
from convlstm.metrics.rain_weights import checked_balance

import mlx.core as mx

Loss = Callable[..., mx.array]


def masked_mean(
    error: Callable[[mx.array, mx.array], mx.array], forecast: mx.array, target: mx.array, mask: mx.array | None
) -> mx.array:
    """Returns the mean of `error(forecast, target)` over the values with a nonzero mask; 0 if there are none.

    Raises:
        ValueError: Forecast and target have different shapes, or the mask does not broadcast to them.
    """
    _check_shapes(forecast, target)
    if mask is None:
        return _sum(error(forecast, target)) / target.size
    try:
        mask = mx.broadcast_to(mask, target.shape) != 0
    except ValueError as misfit:
        raise ValueError(
            f"[loss] 'mask' must have the shape of the target, {target.shape}, or broadcast to it but got {mask.shape}."
        ) from misfit
    # Missing values are also replaced before the error: its gradient at a NaN is NaN, and so is 0 times that.
    values = error(mx.where(mask, forecast, 0), mx.where(mask, target, 0))
    return _sum(mx.where(mask, values, 0)) / mx.maximum(mask.sum(), 1)


def _check_shapes(forecast: mx.array, target: mx.array) -> None:
    if forecast.shape != target.shape:
        members = " The model returns members: choose loss=ensemble." if forecast.ndim == target.ndim + 1 else ""
        raise ValueError(
            f"[loss] 'forecast' and 'target' must have the same shape but got {forecast.shape} and {target.shape}."
            f"{members}"
        )


def _sum(values: mx.array) -> mx.array:
    # Frame by frame: on a CPU, MLX sums a large array in one float32, which loses three digits.
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

    The loss of Shi et al., 2015. Forecasts are probabilities, so the model must end in a sigmoid. At 0 and 1 the
    logarithm is infinite, so forecasts are scaled to the range from `epsilon` to 1 - `epsilon`. Unlike clipping,
    scaling keeps a gradient for a pixel that is certain and wrong.

    Args:
        epsilon: Smallest distance from 0 and 1, at least 1e-7 and below 0.5. Default: 1e-6.

    Raises:
        ValueError: `epsilon` is out of its range.
    """

    def __init__(self, epsilon: float = 1e-6):
        # float32 cannot tell 1 from a number that is closer than 6e-8.
        self.epsilon = check_number("BinaryCrossEntropy", "epsilon", epsilon, 1e-7, below=0.5)

    def __call__(self, forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        def error(forecast: mx.array, target: mx.array) -> mx.array:
            p = self.epsilon + (1 - 2 * self.epsilon) * forecast
            return -target * mx.log(p) - (1 - target) * mx.log1p(-p)

        return masked_mean(error, forecast, target, mask)


def bin_weights(target: mx.array, bins: Sequence[float], weights: Sequence[float]) -> mx.array:
    """Returns the weight of each pixel, `weights[number of bins <= target]`, in the shape of the target."""
    weight = mx.full(target.shape, weights[0], mx.float32)
    for lower, step in zip(bins, (b - a for a, b in pairwise(weights)), strict=True):
        weight = weight + step * (target >= lower)
    return weight


class Balanced:
    r"""Mean over pixels of w (squared e^2 + absolute |e|), in which rare heavy rain has a larger weight.

        e = forecast - target,   w = weights[number of bins <= target]

    With both factors 1 it is the sum B-MSE + B-MAE of Shi et al., 2017, except for a constant factor: theirs is summed
    over the pixels of a frame, H W times this mean, which does not depend on the size of the frame. The weights are not
    divided by their sum.

    Args:
        bins: Lower ends of all bins but the first, ascending, on the model's scale of [0, 1]. In the configurations,
            `convlstm.datasets.transforms.to_unit` converts rain rates.
        weights: The weight of each bin, one more than `bins`; none below 0.
        squared: Factor of the squared error. Default: 1.
        absolute: Factor of the absolute error. Default: 1.

    Raises:
        ValueError: Bins or weights are not as described, a factor is below 0, or both factors are 0.

    Source: Shi et al., Deep Learning for Precipitation Nowcasting: A Benchmark and a New Model, 2017.
    """

    def __init__(self, bins: Sequence[float], weights: Sequence[float], *, squared: float = 1.0, absolute: float = 1.0):
        name = type(self).__name__
        self.bins, self.weights = checked_balance(name, bins, weights)
        self.squared = check_number(name, "squared", squared, 0)
        self.absolute = check_number(name, "absolute", absolute, 0)
        if not self.squared + self.absolute > 0:
            raise ValueError(f"[{name}] 'squared' and 'absolute' must not both be 0. Raise one of them.")

    def __call__(self, forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        def error(forecast: mx.array, target: mx.array) -> mx.array:
            e = forecast - target
            terms = [self.squared * mx.square(e)] if self.squared else []
            terms += [self.absolute * mx.abs(e)] if self.absolute else []
            return bin_weights(target, self.bins, self.weights) * sum(terms[1:], terms[0])

        return masked_mean(error, forecast, target, mask)


class BalancedMeanSquaredError(Balanced):
    """B-MSE: the mean over pixels of w (forecast - target)^2, with w and the arguments of `Balanced`."""

    def __init__(self, bins: Sequence[float], weights: Sequence[float]):
        super().__init__(bins, weights, absolute=0.0)


class BalancedMeanAbsoluteError(Balanced):
    """B-MAE: the mean over pixels of w |forecast - target|, with w and the arguments of `Balanced`."""

    def __init__(self, bins: Sequence[float], weights: Sequence[float]):
        super().__init__(bins, weights, squared=0.0)


class SoftCriticalSuccess:
    r"""Mean over lead times and thresholds of 1 - CSI, a smooth form of a score with which rain forecasts are verified.

        p = sigmoid((forecast - threshold) / width),   o = target >= threshold
        CSI = (sum p o + 1) / (sum (p + o - p o) + 1)

    The sums are over the valid pixels of all sequences, separately for each lead time and threshold, so that a rarely
    exceeded threshold counts as much as a frequently exceeded one. The added pixel prevents a division by 0 if a
    threshold is never exceeded. A lead time without a valid pixel has no part in the mean.

    It is not a mean over pixels: the average over parts of a batch, or over several machines, is not that of the whole.

    Args:
        thresholds: Thresholds on the model's scale of [0, 1], ascending. In the configurations,
            `convlstm.datasets.transforms.to_unit` converts rain rates.
        width: Width of the rise of p from 0 to 1 at a threshold, on the same scale. Default: 0.05.

    Raises:
        ValueError: `thresholds` is empty or does not ascend, or `width` is not above 0.

    Source: Ebert-Uphoff et al., CIRA Guide to Custom Loss Functions for Neural Networks in Environmental Sciences,
    2021.
    """

    def __init__(self, thresholds: Sequence[float], width: float = 0.05):
        ascending = check_numbers("SoftCriticalSuccess", "thresholds", thresholds)
        if not ascending or any(a >= b for a, b in pairwise(ascending)):
            raise ValueError(
                f"[SoftCriticalSuccess] 'thresholds' must be one or more, finite, and ascend but got {ascending}."
            )
        self.thresholds = tuple(ascending)
        self.width = check_number("SoftCriticalSuccess", "width", width, above=0)

    def __call__(self, forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        _check_shapes(forecast, target)
        valid = mx.array(True) if mask is None else mx.broadcast_to(mask, target.shape) != 0
        # Missing values are replaced first: the gradient at a NaN is NaN.
        forecast, target = mx.where(valid, forecast, 0), mx.where(valid, target, 0)
        leads = target.shape[1] if mask is None else mx.maximum(valid.any(axis=(0, 2, 3, 4)).sum(), 1)
        terms = []
        for threshold in self.thresholds:
            p = mx.where(valid, mx.sigmoid((forecast - threshold) / self.width), 0)
            o = mx.where(valid, target >= threshold, False)
            hits, either = ((x.sum(axis=(2, 3, 4))).sum(axis=0) for x in (p * o, mx.maximum(p, o)))
            terms.append((1 - (hits + 1) / (either + 1)).sum() / leads)  # 0 for a lead time without a valid pixel
        return mx.stack(terms).mean()


class WeightedSum:
    """Sum of losses, each times its weight.

    Args:
        losses: The losses.
        weights: One number per loss. Default: 1 each.

    Raises:
        ValueError: `losses` is empty, or `weights` are not one finite number per loss.
    """

    def __init__(self, losses: Sequence[Loss], weights: Sequence[float] | None = None):
        if not isinstance(losses, Sequence) or not losses or not all(map(callable, losses)):
            raise ValueError(f"[WeightedSum] 'losses' must be at least one loss but got {losses!r}.")
        weights = [1.0] * len(losses) if weights is None else check_numbers("WeightedSum", "weights", weights)
        if len(weights) != len(losses):
            raise ValueError(f"[WeightedSum] got {len(losses)} losses but {len(weights)} 'weights'. Give one per loss.")
        self.losses, self.weights = list(losses), weights

    def __call__(self, forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        terms = [w * loss(forecast, target, mask) for w, loss in zip(self.weights, self.losses, strict=True)]
        return mx.stack(terms).sum()
