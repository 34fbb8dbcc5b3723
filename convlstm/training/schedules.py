"""Learning-rate schedules: a learning rate, or a function of the step that gives one."""

from __future__ import annotations

import math
from collections.abc import Callable

from convlstm.arguments import check_number

import mlx.core as mx

Schedule = Callable[[mx.array], mx.array]


def _ramp(step: mx.array, start: float, end: float, length: float) -> mx.array:
    """From `start` at step 0 to `end` at `length` along half a cosine, then `end`."""
    share = mx.clip(step / max(length, 1e-6), 0, 1)
    return end + (start - end) * 0.5 * (1 + mx.cos(math.pi * share))


def _check(name: str, learning_rate: float, steps: int) -> None:
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"[{name}] 'learning_rate' must be above 0 but got {learning_rate}.")
    if steps < 1:
        raise ValueError(f"[{name}] 'steps' must be at least 1 but got {steps}.")


def constant(learning_rate: float, warmup_steps: int = 0) -> float | Schedule:
    """`learning_rate`, after a linear warm-up of `warmup_steps` steps where there is one."""
    _check("constant", learning_rate, 1)
    if warmup_steps < 0:
        raise ValueError(f"[constant] 'warmup_steps' must be at least 0 but got {warmup_steps}.")
    if warmup_steps == 0:
        return float(learning_rate)
    return lambda step: learning_rate * mx.minimum((step + 1) / (warmup_steps + 1), 1)


def cosine(learning_rate: float, steps: int, warmup_share: float = 0.05, final_share: float = 0.01) -> Schedule:
    """A linear warm-up to `learning_rate` for `warmup_share` of the steps, then half a cosine down.

    At `steps` and after it the rate is `final_share` of `learning_rate`.
    """
    _check("cosine", learning_rate, steps)
    if not 0 <= warmup_share < 1:
        raise ValueError(f"[cosine] 'warmup_share' must be at least 0 and below 1 but got {warmup_share}.")
    check_number("cosine", "final_share", final_share, 0, 1)
    warmup = int(warmup_share * steps)

    def schedule(step: mx.array) -> mx.array:
        decay = _ramp(step - float(warmup), learning_rate, learning_rate * final_share, steps - warmup)
        return mx.where(step < warmup, learning_rate * (step + 1) / (warmup + 1), decay)

    return schedule


def staircase(learning_rate: float, every: int, factor: float = 0.7, minimum: float = 0.0) -> Schedule:
    """`learning_rate`, times `factor` after every `every` steps, but no less than `minimum`."""
    if not learning_rate > 0:
        raise ValueError(f"[staircase] 'learning_rate' must be above 0 but got {learning_rate}.")
    if every < 1:
        raise ValueError(f"[staircase] 'every' must be at least 1 but got {every}.")
    if not 0 < factor <= 1:
        raise ValueError(f"[staircase] 'factor' must be above 0 and at most 1 but got {factor}.")
    if not 0 <= minimum <= learning_rate:
        raise ValueError(f"[staircase] 'minimum' must be from 0 to the learning rate but got {minimum}.")
    return lambda step: mx.maximum(learning_rate * mx.power(factor, mx.floor(step / every)), minimum)


def one_cycle(
    learning_rate: float, steps: int, warmup_share: float = 0.3, div: float = 25.0, final_div: float = 1e4
) -> Schedule:
    """Half a cosine from `learning_rate / div` up to `learning_rate`, and another down to that start over `final_div`.

    The way up takes `warmup_share` of the steps. The defaults are those of OpenSTL and of PyTorch's `OneCycleLR`.
    """
    _check("one_cycle", learning_rate, steps)
    if not 0 < warmup_share < 1:
        raise ValueError(f"[one_cycle] 'warmup_share' must be between 0 and 1 but got {warmup_share}.")
    for name, value in (("div", div), ("final_div", final_div)):
        if not 0 < value < math.inf:
            raise ValueError(f"[one_cycle] '{name}' must be above 0 but got {value}.")
    start, top = learning_rate / div, warmup_share * steps - 1

    def schedule(step: mx.array) -> mx.array:
        down = _ramp(step - top, learning_rate, start / final_div, steps - 1 - top)
        return mx.where(step <= top, _ramp(step, start, learning_rate, top), down)

    return schedule


def one_cycle_beta(steps: int, warmup_share: float = 0.3, low: float = 0.85, high: float = 0.95) -> Schedule:
    """Adam's beta1 beside `one_cycle`: from `high` down to `low` while the rate goes up, and back.

    The defaults are those of PyTorch's `OneCycleLR`.
    """
    if steps < 1:
        raise ValueError(f"[one_cycle_beta] 'steps' must be at least 1 but got {steps}.")
    if not 0 < warmup_share < 1:
        raise ValueError(f"[one_cycle_beta] 'warmup_share' must be between 0 and 1 but got {warmup_share}.")
    if not 0 <= low <= high < 1:
        raise ValueError(f"[one_cycle_beta] 'low' and 'high' must ascend from 0 to below 1 but got {low} and {high}.")
    top = warmup_share * steps - 1

    def schedule(step: mx.array) -> mx.array:
        return mx.where(step <= top, _ramp(step, high, low, top), _ramp(step - top, low, high, steps - 1 - top))

    return schedule
