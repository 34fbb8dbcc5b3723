"""Scheduled sampling: the probability that training feeds a true frame instead of the model's own prediction.

A schedule is a function of the step, so a resumed run continues exactly. It returns an array of one or two
probabilities:

- (1,): the probability of a true frame after the inputs. All inputs are true.
- (2,): the probability of a true input after the first one, and that of a true frame after the inputs.

A model that is fed with its own predictions takes the array as the `truth_share` of its `training_loss`. It draws once
for each sequence and time step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from convlstm.arguments import check_number, check_whole

import mlx.core as mx

Sampling = Callable[[mx.array], mx.array]

RISES = ("exponential", "linear")


def _checked(name: str, start: float, end: float, steps: float) -> tuple[float, float, float]:
    start, end = check_number(name, "start", start, 0, 1), check_number(name, "end", end, 0, 1)
    return start, end, check_number(name, "steps", steps, 1)


def linear(start: float = 1.0, end: float = 0.0, steps: int = 50_000) -> Sampling:
    r"""Returns a straight line from `start` at step 0 to `end` at step `steps`, and `end` after it.

    The defaults are OpenSTL's, which subtracts a 50,000th before each draw and so is one step ahead.

    Args:
        start: Probability at step 0. Default: 1.
        end: Probability from step `steps` on. Default: 0.
        steps: Length of the line. Default: 50,000.

    Returns:
        Function of the step that returns the probability of a true frame after the inputs, (1,).

    Raises:
        ValueError: `start` or `end` is not a probability, or `steps` is below 1.

    Source: Bengio et al., Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks, 2015.
    """
    start, end, length = _checked("linear", start, end, steps)

    def sampling(step: mx.array) -> mx.array:
        return (start + (end - start) * mx.minimum(step.astype(mx.float32) / length, 1)).reshape(1)

    return sampling


def exponential(start: float = 1.0, end: float = 0.0, steps: float = 10_000) -> Sampling:
    r"""Returns `end + (start - end) exp(-step / steps)`: 37% of the way from `start` to `end` is left at step `steps`.

    Args:
        start: Probability at step 0. Default: 1.
        end: Probability that is approached. Default: 0.
        steps: Time constant. Default: 10,000.

    Returns:
        Function of the step that returns the probability of a true frame after the inputs, (1,).

    Raises:
        ValueError: `start` or `end` is not a probability, or `steps` is below 1.

    Source: Bengio et al., 2015, whose k is exp(-1 / steps).
    """
    start, end, steps = _checked("exponential", start, end, steps)

    def sampling(step: mx.array) -> mx.array:
        return (end + (start - end) * mx.exp(-step.astype(mx.float32) / steps)).reshape(1)

    return sampling


def inverse_sigmoid(k: float = 3_000.0) -> Sampling:
    r"""Returns `k / (k + exp(step / k))`: near 1 at first, 0.5 at step `k ln k`, near 0 at twice that.

    Args:
        k: Time constant. Default: 3,000.

    Returns:
        Function of the step that returns the probability of a true frame after the inputs, (1,).

    Raises:
        ValueError: `k` is less than 1.

    Source: Bengio et al., 2015.
    """
    k = check_number("inverse_sigmoid", "k", k, 1)

    def sampling(step: mx.array) -> mx.array:
        return mx.sigmoid(math.log(k) - step.astype(mx.float32) / k).reshape(1)

    return sampling


def reverse(
    hold: int = 25_000, end: int = 50_000, rise: str = "exponential", time_constant: float = 5_000.0, start: float = 0.5
) -> Sampling:
    r"""Returns PredRNN-v2's reverse schedule: true inputs become more frequent, true frames after them less frequent.

        inputs:  start until `hold`, then 1 - (1 - start) exp(-(step - hold) / time_constant) until `end`, then 1
        targets: start until `hold`, then a straight line to 0 at `end`

    A model that also has to predict its own inputs learns to look back further than one frame.

    Args:
        hold: Step until which nothing changes. Default: 25,000.
        end: Step from which inputs are always true, and the frames after them never. Default: 50,000.
        rise: Form in which the probability of inputs rises after `hold`: 'exponential', or 'linear' up to 1 at `end`.
            Default: 'exponential'.
        time_constant: Steps of the exponential rise. Default: 5,000, as in predrnn-pytorch and OpenSTL; the former's
            script for Moving-MNIST has 2,500.
        start: Both probabilities until `hold`. Default: 0.5.

    Returns:
        Function of the step that returns the probabilities of a true input and of a true frame after the inputs, (2,).

    Raises:
        ValueError: `start` is not a probability, `hold` is below 0, `end` is not after `hold`, `time_constant` is below
            1, or `rise` is unknown.

    Source: Wang et al., PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning, 2021; the code of
    predrnn-pytorch.
    """
    start = check_number("reverse", "start", start, 0, 1)
    hold, end = (check_whole("reverse", name, n, 0, 1 << 53) for name, n in (("hold", hold), ("end", end)))
    if end <= hold:
        raise ValueError(
            f"[reverse] 'hold' must be at least 0 and 'end' larger than it but got hold={hold} and end={end}."
        )
    time_constant = check_number("reverse", "time_constant", time_constant, 1)
    if rise not in RISES:
        raise ValueError(f"[reverse] 'rise' must be one of {', '.join(RISES)} but got {rise!r}.")

    def sampling(step: mx.array) -> mx.array:
        t = step.astype(mx.float32)
        share = mx.clip((t - hold) / (end - hold), 0, 1)
        remaining = 1 - share if rise == "linear" else mx.exp(-mx.maximum(t - hold, 0) / time_constant)
        inputs = mx.where(t < end, 1 - (1 - start) * remaining, 1.0)
        return mx.stack([inputs, start * (1 - share)])

    return sampling
