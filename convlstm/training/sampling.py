"""Scheduled sampling: with which probability training feeds a true frame where a forecast feeds its own prediction.

A schedule is a function of the step, so a run that is resumed goes on where it was. It gives the probabilities at that
step: one, of feeding the frames after the inputs, or two, of feeding the inputs after the first and the frames after
them. A schedule of one leaves the inputs true. A model that feeds on its predictions takes them as the `truth_share` of
its `training_loss`, and draws once for each sequence and step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from convlstm.arguments import check_number

import mlx.core as mx

Sampling = Callable[[mx.array], mx.array]

RISES = ("exponential", "linear")


def _check(name: str, start: float, end: float, steps: float) -> None:
    check_number(name, "start", start, 0, 1)
    check_number(name, "end", end, 0, 1)
    check_number(name, "steps", steps, 1)


def linear(start: float = 1.0, end: float = 0.0, steps: int = 50_000) -> Sampling:
    r"""A straight line from `start` at step 0 to `end` at step `steps`, and `end` from there on.

    The defaults are OpenSTL's, a 50,000th less with every step, which it takes off before it draws: one step earlier.

    Returns:
        A function of the step that gives the probability of feeding a true frame after the inputs, (1,).

    Raises:
        ValueError: `start` or `end` is no probability, or there is no step.

    Source: Bengio et al., Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks, 2015.
    """
    _check("linear", start, end, steps)

    def sampling(step: mx.array) -> mx.array:
        return (start + (end - start) * mx.minimum(step.astype(mx.float32) / steps, 1)).reshape(1)

    return sampling


def exponential(start: float = 1.0, end: float = 0.0, steps: float = 10_000) -> Sampling:
    r"""`end + (start - end) exp(-step / steps)`: 37% of the way to `end` is left after `steps`.

    Returns:
        A function of the step that gives the probability of feeding a true frame after the inputs, (1,).

    Raises:
        ValueError: `start` or `end` is no probability, or there is no step.

    Source: Bengio et al., 2015, whose k is exp(-1 / steps).
    """
    _check("exponential", start, end, steps)

    def sampling(step: mx.array) -> mx.array:
        return (end + (start - end) * mx.exp(-step.astype(mx.float32) / steps)).reshape(1)

    return sampling


def inverse_sigmoid(k: float = 3_000.0) -> Sampling:
    r"""`k / (k + exp(step / k))`: near 1 at first, a half at step `k ln k`, near 0 at twice that.

    Returns:
        A function of the step that gives the probability of feeding a true frame after the inputs, (1,).

    Raises:
        ValueError: `k` is less than 1.

    Source: Bengio et al., 2015.
    """
    check_number("inverse_sigmoid", "k", k, 1)

    def sampling(step: mx.array) -> mx.array:
        return mx.sigmoid(math.log(k) - step.astype(mx.float32) / k).reshape(1)

    return sampling


def reverse(
    hold: int = 25_000, end: int = 50_000, rise: str = "exponential", time_constant: float = 5_000.0, start: float = 0.5
) -> Sampling:
    r"""PredRNN-v2's reverse schedule: inputs are fed more and more often, the frames after them more and more seldom.

        inputs:  start until `hold`, then 1 - (1 - start) exp(-(step - hold) / time_constant) until `end`, then 1
        targets: start until `hold`, then a straight line to 0 at `end`

    A model that must forecast its own inputs, too, learns to look further back than to the frame before.

    Args:
        hold: Steps during which nothing changes. Default: 25,000.
        end: Step from which inputs are always fed, and targets never. Default: 50,000.
        rise: Of the share of inputs after `hold`: 'exponential', or 'linear' up to 1 at `end`. Default: 'exponential'.
        time_constant: Steps of the exponential rise. Default: 5,000, as in predrnn-pytorch and OpenSTL; the former's
            script for Moving-MNIST has 2,500.
        start: Both shares at step 0. Default: 0.5.

    Returns:
        A function of the step that gives the probabilities of feeding a true input, and a true frame after them, (2,).

    Raises:
        ValueError: `start` is no probability, `end` does not lie after `hold`, or `rise` is unknown.

    Source: Wang et al., PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning, 2021; the code of
    predrnn-pytorch.
    """
    check_number("reverse", "start", start, 0, 1)
    if hold < 0 or end <= hold:
        raise ValueError(
            f"[reverse] 'hold' must be at least 0 and 'end' larger than it but got hold={hold} and end={end}."
        )
    check_number("reverse", "time_constant", time_constant, 1)
    if rise not in RISES:
        raise ValueError(f"[reverse] 'rise' must be one of {', '.join(RISES)} but got {rise!r}.")

    def sampling(step: mx.array) -> mx.array:
        t = step.astype(mx.float32)
        share = mx.clip((t - hold) / (end - hold), 0, 1)
        left = 1 - share if rise == "linear" else mx.exp(-mx.maximum(t - hold, 0) / time_constant)
        inputs = mx.where(t < end, 1 - (1 - start) * left, 1.0)
        return mx.stack([inputs, start * (1 - share)])

    return sampling
