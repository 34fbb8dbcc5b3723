"""Optimizers that `mlx.optimizers` lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convlstm.arguments import check_number

import mlx.core as mx
import mlx.optimizers as optim


class CycledAdam(optim.Adam):
    r"""Adam with a decay rate of the first moment that changes with the step, as with PyTorch's `OneCycleLR`.

        m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
        w = w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    for step t = 1, 2, ..., with b1 and lr of that step.

    Args:
        learning_rate: lr, a number or a function of the step that returns one.
        beta1: b1, a number or a function of the step, such as `convlstm.training.schedules.one_cycle_beta`.
        beta2: b2. Default: 0.999.
        eps: Number that keeps the denominator above 0. Default: 1e-8.

    Raises:
        ValueError: A number is out of range.

    Sources: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015; Smith, A disciplined approach to neural
    network hyper-parameters, 2018, for the cycle.
    """

    def __init__(
        self,
        learning_rate: float | Callable[[mx.array], mx.array],
        beta1: float | Callable[[mx.array], mx.array],
        *,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ):
        if not callable(learning_rate):
            learning_rate = check_number("CycledAdam", "learning_rate", learning_rate, 0)
        if not callable(beta1):
            beta1 = check_number("CycledAdam", "beta1", beta1, 0, below=1)
        beta2 = check_number("CycledAdam", "beta2", beta2, 0, below=1)
        eps = check_number("CycledAdam", "eps", eps, above=0)
        super().__init__(learning_rate, [0.0, beta2], eps)
        self._maybe_schedule("beta1", beta1)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        """Returns the parameter after a step, and updates `m` and `v` in the state."""
        dtype = gradient.dtype
        lr, b1, b2 = self.learning_rate.astype(dtype), self.state["beta1"].astype(dtype), self.betas[1]
        m = b1 * state["m"] + (1 - b1) * gradient
        v = b2 * state["v"] + (1 - b2) * mx.square(gradient)
        state["m"], state["v"] = m, v
        rate = (lr / (1 - b1**self.step)).astype(dtype)
        return parameter - rate * m / (mx.sqrt(v) * mx.rsqrt(1 - b2**self.step).astype(dtype) + self.eps)
