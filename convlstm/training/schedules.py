"""Learning-rate schedules. Each returns a learning rate, or a function of the step that returns one."""

from __future__ import annotations

import math
from collections.abc import Callable

from convlstm.arguments import check_number, check_whole

import mlx.core as mx

Schedule = Callable[[mx.array], mx.array]

# MLX counts in 64 bits, and floats count exactly up to here.
_MOST_STEPS = 1 << 53


def _ramp(step: mx.array, start: float, end: float, length: float) -> mx.array:
    """Returns half a cosine from `start` at step 0 to `end` at `length`, and `end` after it."""
    share = mx.clip(step / max(length, 1e-6), 0, 1)
    return end + (start - end) * 0.5 * (1 + mx.cos(math.pi * share))


def _check_steps(owner: str, name: str, steps: int, least: int = 1) -> None:
    check_whole(owner, name, steps, least, _MOST_STEPS)


def constant(learning_rate: float, warmup_steps: int = 0) -> float | Schedule:
    """Returns `learning_rate`, with a linear warm-up of `warmup_steps` steps if they are above 0.

    Args:
        learning_rate: The learning rate.
        warmup_steps: Steps of the warm-up. Default: 0.

    Raises:
        ValueError: A number is out of range.
    """
    learning_rate = check_number("constant", "learning_rate", learning_rate, above=0)
    _check_steps("constant", "warmup_steps", warmup_steps, 0)
    if warmup_steps == 0:
        return learning_rate
    return lambda step: learning_rate * mx.minimum((step + 1) / (warmup_steps + 1), 1)


def cosine(learning_rate: float, steps: int, warmup_share: float = 0.05, final_share: float = 0.01) -> Schedule:
    """Returns a linear warm-up to `learning_rate`, followed by half a cosine down to a share of it.

    Args:
        learning_rate: The highest learning rate.
        steps: Step at which the cosine ends.
        warmup_share: Share of `steps` for the warm-up. Default: 0.05.
        final_share: Share of `learning_rate` at `steps` and after it. Default: 0.01.

    Raises:
        ValueError: A number is out of range.
    """
    learning_rate = check_number("cosine", "learning_rate", learning_rate, above=0)
    _check_steps("cosine", "steps", steps)
    warmup_share = check_number("cosine", "warmup_share", warmup_share, 0, below=1)
    final_share = check_number("cosine", "final_share", final_share, 0, 1)
    warmup = int(warmup_share * steps)

    def schedule(step: mx.array) -> mx.array:
        decay = _ramp(step - float(warmup), learning_rate, learning_rate * final_share, steps - warmup)
        return mx.where(step < warmup, learning_rate * (step + 1) / (warmup + 1), decay)

    return schedule


def staircase(learning_rate: float, every: int, factor: float = 0.7, minimum: float = 0.0) -> Schedule:
    """Returns a learning rate that is multiplied by `factor` every `every` steps.

    Args:
        learning_rate: The learning rate at the start.
        every: Steps between two changes.
        factor: Factor of each change, above 0 and at most 1. Default: 0.7.
        minimum: The lowest learning rate. Default: 0.

    Raises:
        ValueError: A number is out of range.
    """
    learning_rate = check_number("staircase", "learning_rate", learning_rate, above=0)
    _check_steps("staircase", "every", every)
    factor = check_number("staircase", "factor", factor, above=0, most=1)
    minimum = check_number("staircase", "minimum", minimum)
    if not 0 <= minimum <= learning_rate:
        raise ValueError(f"[staircase] 'minimum' must be from 0 to the learning rate but got {minimum}.")
    return lambda step: mx.maximum(learning_rate * mx.power(factor, mx.floor(step / every)), minimum)


def one_cycle(
    learning_rate: float, steps: int, warmup_share: float = 0.3, div: float = 25.0, final_div: float = 1e4
) -> Schedule:
    """Returns half a cosine up to `learning_rate`, followed by half a cosine down.

    It starts at `learning_rate / div` and ends at `learning_rate / div / final_div`. The defaults are those of OpenSTL
    and of PyTorch's `OneCycleLR`.

    Args:
        learning_rate: The highest learning rate.
        steps: Number of steps in all.
        warmup_share: Share of the steps on the way up. Default: 0.3.
        div: The highest learning rate divided by the first one. Default: 25.
        final_div: The first learning rate divided by the last one. Default: 10,000.

    Raises:
        ValueError: A number is out of range.
    """
    learning_rate = check_number("one_cycle", "learning_rate", learning_rate, above=0)
    _check_steps("one_cycle", "steps", steps)
    warmup_share = check_number("one_cycle", "warmup_share", warmup_share, above=0, below=1)
    div = check_number("one_cycle", "div", div, above=0)
    final_div = check_number("one_cycle", "final_div", final_div, above=0)
    start, top = learning_rate / div, warmup_share * steps - 1

    def schedule(step: mx.array) -> mx.array:
        down = _ramp(step - top, learning_rate, start / final_div, steps - 1 - top)
        return mx.where(step <= top, _ramp(step, start, learning_rate, top), down)

    return schedule


def one_cycle_beta(steps: int, warmup_share: float = 0.3, low: float = 0.85, high: float = 0.95) -> Schedule:
    """Returns Adam's beta1 for `one_cycle`: from `high` down to `low` while the learning rate rises, and back up.

    The defaults are those of PyTorch's `OneCycleLR`.

    Args:
        steps: Number of steps in all.
        warmup_share: Share of the steps on the way down. Default: 0.3.
        low: The lowest value. Default: 0.85.
        high: The highest value. Default: 0.95.

    Raises:
        ValueError: A number is out of range.
    """
    _check_steps("one_cycle_beta", "steps", steps)
    warmup_share = check_number("one_cycle_beta", "warmup_share", warmup_share, above=0, below=1)
    low, high = check_number("one_cycle_beta", "low", low), check_number("one_cycle_beta", "high", high)
    if not 0 <= low <= high < 1:
        raise ValueError(f"[one_cycle_beta] 'low' and 'high' must ascend from 0 to below 1 but got {low} and {high}.")
    top = warmup_share * steps - 1

    def schedule(step: mx.array) -> mx.array:
        return mx.where(step <= top, _ramp(step, high, low, top), _ramp(step - top, low, high, steps - 1 - top))

    return schedule
