"""Optimizers that `mlx.optimizers` lacks, and a faster way for those that it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from convlstm.arguments import check_number, check_numbers, check_whole
from convlstm.ops.adam import adam_step
from convlstm.ops.algorithm import takes_kernels

import mlx.core as mx
import mlx.optimizers as optim


def take_kernels(optimizer: optim.Optimizer) -> None:
    """Has MLX's Adam or AdamW update each array by one kernel, where the CPU has kernels; leaves others as they are.

    On a CPU, MLX takes a dozen operations for it, each on one thread.
    """
    if type(optimizer) in (optim.Adam, optim.AdamW):
        optimizer.apply_single = partial(_adam_single, optimizer)  # type: ignore[method-assign]


def _adam_single(optimizer: Any, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
    m, v = state["m"], state["v"]
    if not takes_kernels("auto", gradient, parameter, m, v):
        return type(optimizer).apply_single(optimizer, gradient, parameter, state)
    rate: mx.array = optimizer.learning_rate.astype(mx.float32)
    corrected: mx.array | float = 1.0
    kept = 1 - rate * optimizer.weight_decay if type(optimizer) is optim.AdamW else 1.0
    if optimizer.bias_correction:
        b1, b2 = optimizer.betas
        rate, corrected = rate / (1 - b1**optimizer.step), mx.rsqrt(1 - b2**optimizer.step)
    betas = (optimizer.betas[0], optimizer.betas[1])
    w, state["m"], state["v"] = adam_step(parameter, gradient, m, v, betas, rate, corrected, optimizer.eps, kept)
    return w


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


class Muon(optim.Optimizer):
    r"""Muon for the kernels of convolutions, and Adam for all other weights.

    The update of a kernel g (O, kh, kw, C) is its momentum, a matrix of O rows, with all singular values near 1:

        m = b m + (1 - b) g
        w = w - lr (0.2 sqrt(max(R, kh kw C)) orthogonal(b m + (1 - b) g) + weight_decay w)

    so that rare directions of the gradient count as much as frequent ones. The matrix is cut into blocks of R <= `rows`
    rows, such as the gates of a ConvLSTM layer with 64 channels, and each block is made orthogonal by itself. The
    factor gives the update the size of Adam's, so both take the same learning rate. Kernels are arrays with more than
    one place (kh kw > 1) and more than one input channel. 1x1 convolutions, depthwise ones, biases and peepholes are
    Adam's, with corrected averages and without weight decay.

    Args:
        learning_rate: lr, a number or a function of the step that returns one.
        momentum: b, the decay of the gradients' average. Default: 0.95.
        betas: Adam's two decays. Default: (0.9, 0.999).
        eps: Number that keeps Adam's denominator above 0. Default: 1e-8.
        rows: Most rows of a block. Smaller blocks need less time. Default: 64.
        weight_decay: Share of a kernel that is subtracted, times the learning rate. Default: 0.

    Raises:
        ValueError: A number is out of range.

    Sources: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; Liu et al., Muon is Scalable
    for LLM Training, 2025, for the factor.
    """

    def __init__(
        self,
        learning_rate: float | Callable[[mx.array], mx.array],
        momentum: float = 0.95,
        *,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        rows: int = 64,
        weight_decay: float = 0.0,
    ):
        super().__init__()
        if not callable(learning_rate):
            learning_rate = check_number("Muon", "learning_rate", learning_rate, 0)
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = check_number("Muon", "momentum", momentum, 0, below=1)
        self.betas = check_numbers("Muon", "betas", betas)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"[Muon] 'betas' must be two numbers of at least 0 and below 1 but got {self.betas}.")
        self.eps = check_number("Muon", "eps", eps, above=0)
        self.rows = check_whole("Muon", "rows", rows)
        self.weight_decay = check_number("Muon", "weight_decay", weight_decay, 0)

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """Adds the averages of a parameter's gradients, zeros, to its state."""
        state["m"] = mx.zeros_like(parameter)
        if not is_kernel(parameter):
            state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        """Returns the parameter after a step, and updates the averages in the state."""
        lr = self.learning_rate.astype(gradient.dtype)
        if is_kernel(parameter):
            b = self.momentum
            state["m"] = b * state["m"] + (1 - b) * gradient
            O = parameter.shape[0]
            blocks = next(n for n in range(-(-O // self.rows), O + 1) if O % n == 0)
            matrices = (b * state["m"] + (1 - b) * gradient).reshape(blocks, O // blocks, -1)
            update = 0.2 * max(matrices.shape[1:]) ** 0.5 * orthogonal(matrices)
            return parameter - lr * (update.reshape(parameter.shape) + self.weight_decay * parameter)
        b1, b2 = self.betas
        state["m"] = b1 * state["m"] + (1 - b1) * gradient
        state["v"] = b2 * state["v"] + (1 - b2) * mx.square(gradient)
        m, v = (state[name] / (1 - b**self.step).astype(gradient.dtype) for name, b in (("m", b1), ("v", b2)))
        return parameter - lr * m / (mx.sqrt(v) + self.eps)


def is_kernel(parameter: mx.array) -> bool:
    """Returns True for kernels of convolutions with more than one place and more than one input channel."""
    return parameter.ndim > 2 and math.prod(parameter.shape[1:-1]) > 1 and parameter.shape[-1] > 1


def orthogonal(matrices: mx.array) -> mx.array:
    r"""Returns matrices with the same singular vectors, and with singular values between about 0.7 and 1.2.

        X = M / |M|,   five times X = a X + b (X X^T) X + c (X X^T)^2 X,   a, b, c = 3.4445, -4.775, 2.0315

    Singular values below a thousandth of |M| stay smaller. All factors of X are polynomials of A = X X^T, which
    commute. So the walk is over the small matrices A and P, the product of the factors, and X itself is multiplied only
    once.

    Args:
        matrices: (B, R, K).

    Returns:
        (B, R, K).
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.swapaxes(1, 2)).swapaxes(1, 2)
    a, b, c = 3.4445, -4.775, 2.0315
    A = matrices @ matrices.swapaxes(1, 2)
    size = mx.sqrt(mx.trace(A, axis1=1, axis2=2))[:, None, None] + 1e-12
    A = A / mx.square(size)
    identity = mx.eye(A.shape[-1])
    P = identity
    for n in range(5):
        factor = a * identity + b * A + c * (A @ A)
        P = factor @ P if n else factor
        A = factor @ A @ factor
    return P @ (matrices / size)
