"""A convolution that a walk applies at each of its steps, with kernels that are transformed once on a CPU.

The kernels' gradient is summed over the steps before it is transformed back, so that no step leaves an array of the
weights' size to be added later.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from convlstm.ops.algorithm import takes_winograd
from convlstm.ops.convolution import FEW, conv2d
from convlstm.ops.cpu.library import library

import mlx.core as mx


class Kernels(NamedTuple):
    """The kernels of a convolution as the steps of a walk read them.

    Attributes:
        forward: The transformed kernels.
        turned: The kernels transformed for the gradient. If gradients are rare, the kernels themselves, (O, k, k, C),
            which a gradient then transforms.
        sum: Zeros that the walk passes on from step to step. Their gradient is that of `forward`, the sum over all
            steps.
    """

    forward: mx.array
    turned: mx.array
    sum: mx.array


def prepare(W: mx.array, trains: bool = True) -> Kernels:
    """Returns kernels (O, k, k, C), k 3 or 5, for a walk in float32 on the CPU.

    Args:
        W: The kernels.
        trains: True if many gradients will be taken. Default: True.
    """
    prepared: Any = _prepare(W)
    turned = mx.stop_gradient(W)
    return Kernels(mx.stop_gradient(prepared[0]), turn(turned) if trains else turned, prepared[1])


def turn(W: mx.array) -> mx.array:
    """Returns kernels (O, k, k, C) as the gradient of a convolution reads them."""
    return _transformed("convlstm_prepare_turned", W)


def convolve(x: mx.array, kernels: Kernels, channels: int, kernel_size: int) -> tuple[mx.array, Kernels]:
    """Returns `mx.conv2d` with stride 1 and 'same' padding, and the kernels for the next step.

    Args:
        x: (N, H, W, C), float32.
        kernels: Result of `prepare` for the first step of a walk, and for the others that of the step before.
        channels: Outputs O.
        kernel_size: Side k of the kernels.

    Returns:
        (N, H, W, O), and the kernels.

    Raises:
        ValueError: The kernels have other sizes.
    """
    if kernels.forward.size != library().filter_floats(kernel_size, x.shape[-1], channels):
        raise ValueError(
            f"[convolve] the kernels were not prepared from {channels} x {kernel_size} x {kernel_size} x {x.shape[-1]} "
            "numbers."
        )
    y, after = _convolution(channels, kernel_size)(x, *kernels)
    return y, kernels._replace(sum=after)


class StepConvolution:
    """A convolution with stride 1 that the steps of one walk call in turn: NHWC -> NHWO.

    Args:
        W: Kernels (O, kh, kw, C).
        padding: 'same' or 'circular'. Default: 'same'.
        algorithm: As in `conv2d`. Default: 'auto'.
        trains: True if many gradients will be taken. Default: True.
        sparing: True leaves the kernels as they are, to save memory; every step transforms them. Default: False.
    """

    def __init__(
        self,
        W: mx.array,
        padding: str = "same",
        algorithm: str = "auto",
        *,
        trains: bool = True,
        sparing: bool = False,
    ):
        self._W, self._padding, self._algorithm = W, padding, algorithm
        size: Any = W.shape[1:3]
        fits = (
            not sparing
            and padding == "same"
            and W.shape[-1] >= FEW
            and takes_winograd("StepConvolution", algorithm, size, W.dtype)
        )
        self._kernels = prepare(W, trains) if fits else None

    def __call__(self, x: mx.array) -> mx.array:
        """Returns the convolution of a step's frames."""
        if self._kernels is None or x.dtype != mx.float32:
            return conv2d(x, self._W, padding=self._padding, algorithm=self._algorithm)
        y, self._kernels = convolve(x, self._kernels, self._W.shape[0], self._W.shape[1])
        return y


@cache
def _convolution(channels: int, kernel_size: int):
    """Returns the convolution as a function of x, the transformed kernels, the turned ones and the sum."""

    def numbers(x: mx.array) -> list[int]:
        return [*x.shape, channels, kernel_size, 1]

    @mx.custom_function
    def run(x, forward, turned, after):
        shape = (*x.shape[:3], channels)
        return library().call("convlstm_convolution", [x, forward], [shape], numbers(x))[0], after

    @run.vjp
    def _(primals: Any, cotangents: Any, _: Any):
        x, forward, turned, after = primals
        dy, dafter = cotangents
        back = turned if turned.ndim == 1 else turn(turned)
        inputs, shapes = [x, back, dy, dafter], [x.shape, after.shape]
        dx, dsum = library().call("convlstm_convolution_backward", inputs, shapes, numbers(x), {1: 3})
        return dx, mx.zeros_like(forward), mx.zeros_like(turned), dsum

    return run


@mx.custom_function
def _prepare(W):
    O, k, _, C = W.shape
    # Nothing reads these zeros: only their gradient matters.
    return _transformed("convlstm_prepare_forward", W), mx.broadcast_to(0.0, (library().filter_floats(k, O, C),))


@_prepare.vjp
def _(W, cotangents, _):
    O, k, _, C = W.shape
    return library().call("convlstm_prepare_backward", [cotangents[1]], [W.shape], [C, O, 0, k])[0]


def _transformed(name: str, W: mx.array) -> mx.array:
    """Returns filters for the convolution (`convlstm_prepare_forward`) or its gradient (`convlstm_prepare_turned`)."""
    O, k, _, C = W.shape
    sides = (C, O) if name.endswith("forward") else (O, C)
    return library().call(name, [W], [(library().filter_floats(k, *sides),)], [C, O, 0, k])[0]
