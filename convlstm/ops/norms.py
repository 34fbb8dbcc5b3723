"""Normalisation of images: in groups of channels, with the activation that follows, and over a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from convlstm.ops.activations import leaky_relu, silu
from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx
import mlx.nn as nn

# In the order of the numbers that they have in the kernels. The leaky ReLU has SimVP's slope.
ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "none": lambda x: x,
    "silu": silu,
    "leaky_relu": lambda x: leaky_relu(x, 0.2),
}


def reference_group_norm(
    x: mx.array, bias: mx.array, weight: mx.array, shift: mx.array, groups: int, activation: str, epsilon: float
) -> mx.array:
    """Returns the result of `group_norm`, by plain MLX. It has the same arguments."""
    N, *grid, C = x.shape
    z = (x + bias).reshape(N, -1, groups, C // groups).transpose(0, 2, 1, 3).reshape(N, groups, -1)
    z = mx.fast.layer_norm(z, None, None, epsilon)
    z = z.reshape(N, groups, -1, C // groups).transpose(0, 2, 1, 3).reshape(N, *grid, C)
    return ACTIVATIONS[activation](z * weight + shift)


def group_norm(
    x: mx.array,
    bias: mx.array,
    weight: mx.array,
    shift: mx.array,
    groups: int,
    activation: str = "none",
    *,
    epsilon: float = 1e-5,
    algorithm: str = "auto",
) -> mx.array:
    r"""Returns an activation of the group normalisation of a convolution's result and its bias.

        f(weight (x + bias - mean) / sqrt(variance + epsilon) + shift)

    with mean and variance over the grid and the channels of a group, for each image.

    Args:
        x: (N, H, W, C).
        bias, weight, shift: (C,).
        groups: Number of groups of adjacent channels.
        activation: f, one of `ACTIVATIONS`. Default: 'none'.
        epsilon: Added to the variance. Default: 1e-5.
        algorithm: 'native' is MLX's own functions; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: `groups` does not divide the channels, or there is no such activation.

    Source: Wu and He, Group Normalization, 2018.
    """
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"[group_norm] 'groups' must divide the {x.shape[-1]} channels but got {groups}.")
    if activation not in ACTIVATIONS:
        raise ValueError(f"[group_norm] 'activation' must be one of {', '.join(ACTIVATIONS)} but got {activation!r}.")
    if takes_kernels(algorithm, x, bias, weight, shift):
        return _group_norm(groups, list(ACTIVATIONS).index(activation), epsilon)(x, bias, weight, shift)[0]
    return reference_group_norm(x, bias, weight, shift, groups, activation, epsilon)


@cache
def _group_norm(groups: int, activation: int, epsilon: float):
    kernels = library()

    def numbers(x: mx.array) -> list[int]:
        return [x.shape[0], x[0].size // x.shape[-1], x.shape[-1], groups, activation]

    @mx.custom_function
    def run(x, bias, weight, shift):
        shapes = [x.shape, (x.shape[0], groups, 2)]
        return tuple(
            kernels.call("convlstm_group_norm", [x, bias, weight, shift, mx.array(epsilon)], shapes, numbers(x))
        )

    @run.vjp
    def _(primals, cotangents, outputs):
        shapes = [a.shape for a in primals]
        inputs = [*primals, outputs[1], cotangents[0]]
        return tuple(
            kernels.call("convlstm_group_norm_backward", inputs, shapes, numbers(primals[0]), {0: len(inputs) - 1})
        )

    return run


def reference_batch_norm(x: mx.array, weight: mx.array, shift: mx.array, epsilon: float) -> tuple[mx.array, ...]:
    """Returns the result of `batch_norm`, by plain MLX. It has the same arguments."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = mx.mean(x, axis=axes), mx.var(x, axis=axes)
    return weight * ((x - mean) * mx.rsqrt(variance + epsilon)) + shift, mean, variance


def batch_norm(
    x: mx.array, weight: mx.array, shift: mx.array, *, epsilon: float = 1e-5, algorithm: str = "auto"
) -> tuple[mx.array, mx.array, mx.array]:
    r"""Returns the normalisation by the batch's own mean and variance, the mean and the variance.

        y = weight (x - mean) / sqrt(variance + epsilon) + shift

    Args:
        x: (N, H, W, C).
        weight, shift: (C,).
        epsilon: Added to the variance. Default: 1e-5.
        algorithm: As in `group_norm`.

    Returns:
        y (N, H, W, C), and the mean and the variance (C,) over images and pixels, both without a gradient.

    Source: Ioffe and Szegedy, Batch Normalization, 2015.
    """
    if takes_kernels(algorithm, x, weight, shift):
        y, mean, variance = _batch_norm(epsilon)(x, weight, shift)
    else:
        y, mean, variance = reference_batch_norm(x, weight, shift, epsilon)
    return y, mx.stop_gradient(mean), mx.stop_gradient(variance)


@cache
def _batch_norm(epsilon: float):
    kernels = library()

    def numbers(x: mx.array) -> list[int]:
        return [x.size // x.shape[-1], x.shape[-1]]

    @mx.custom_function
    def run(x, weight, shift):
        shapes = [x.shape, weight.shape, weight.shape]
        return tuple(kernels.call("convlstm_batch_norm", [x, weight, shift, mx.array(epsilon)], shapes, numbers(x)))

    @run.vjp
    def _(primals, cotangents, outputs):
        x, weight, _ = primals
        inputs = [x, weight, mx.array(epsilon), outputs[1], outputs[2], cotangents[0]]
        shapes = [a.shape for a in primals]
        return tuple(kernels.call("convlstm_batch_norm_backward", inputs, shapes, numbers(x), {0: len(inputs) - 1}))

    return run


class BatchNorm(nn.BatchNorm):
    """`mlx.nn.BatchNorm` with the fast `batch_norm`: (N, H, W, C) -> (N, H, W, C).

    Args:
        num_features: Channels C.
    """

    def __init__(self, num_features: int):
        super().__init__(num_features)

    def __call__(self, x: mx.array) -> mx.array:
        if not self.training or x.size == x.shape[-1]:  # for a single value per channel, MLX's own raises its error
            return super().__call__(x)
        y, mean, variance = batch_norm(x, self.weight, self.bias, epsilon=self.eps)
        count, mu = x.size // x.shape[-1], self.momentum
        self.running_mean = (1 - mu) * self.running_mean + mu * mean
        self.running_var = (1 - mu) * self.running_var + mu * variance * (count / (count - 1))
        return y
