"""The element-wise part of the ConvGRU and the TrajGRU: gates, candidate and hidden state.

`reference_gru_gates` has the equations in plain MLX. GPUs use it, and a test compares the CPU's kernel with it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from convlstm.ops.activations import leaky_relu
from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx

# Activations of the candidate and of the TrajGRU's flows. The leaky ReLU has the slope of Shi et al., 2017.
ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "leaky_relu": lambda x: leaky_relu(x, 0.2),
    "tanh": mx.tanh,
}


def check_activation(owner: str, activation: str) -> str:
    """Returns the activation; raises ValueError if none has this name."""
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"[{owner}] 'state_activation' must be one of {', '.join(ACTIVATIONS)} but got {activation!r}."
        )
    return activation


def reference_gru_gates(
    x: mx.array | None, y: mx.array, h: mx.array, bx: mx.array | None, by: mx.array | None, activation: str
) -> mx.array:
    """Returns the next hidden state as the equations state it. Arguments as in `gru_gates`."""
    x = x if x is None or bx is None else x + bx
    y = y if by is None else y + by
    xz, xr, xh = (0, 0, 0) if x is None else mx.split(x, 3, axis=-1)
    yz, yr, yh = mx.split(y, 3, axis=-1)
    z = mx.sigmoid(xz + yz)
    r = mx.sigmoid(xr + yr)
    g = ACTIVATIONS[activation](xh + r * yh)
    return (1 - z) * g + z * h


def gru_gates(
    x: mx.array | None,
    y: mx.array,
    h: mx.array,
    bx: mx.array | None,
    by: mx.array | None,
    activation: str,
    algorithm: str = "auto",
) -> mx.array:
    r"""Returns the next hidden state of a GRU from the input's and the hidden state's parts of the pre-activations.

        z = sigmoid(x_z + bx_z + y_z + by_z)
        r = sigmoid(x_r + bx_r + y_r + by_r)
        h' = (1 - z) . f(x_h + bx_h + r . (y_h + by_h)) + z . h

    Args:
        x: The input's part (..., H, W, 3O), in the order z, r, h; None for no input.
        y: The hidden state's part (..., H, W, 3O), in the same order.
        h: Hidden state (..., H, W, O).
        bx, by: Biases (3O,) of x and y, in the same order; None for none.
        activation: f, one of `ACTIVATIONS`.
        algorithm: 'native' is MLX's own functions; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.

    Returns:
        `h'`, (..., H, W, O).
    """
    arrays = [a for a in (x, y, h, bx, by) if a is not None]
    if not takes_kernels(algorithm, *arrays):
        return reference_gru_gates(x, y, h, bx, by, activation)
    zeros, nothing = mx.zeros(y.shape[-1:]), mx.zeros(1)
    return _gates(x is not None, activation == "tanh")(
        nothing if x is None else x, y, h, zeros if bx is None else bx, zeros if by is None else by
    )


@cache
def _gates(driven: bool, bounded: bool):
    """Returns the CPU's kernel. `driven` is True if there is an input, `bounded` if the activation is tanh."""
    kernels = library()

    def numbers(h):
        return [h.size // h.shape[-1], h.shape[-1], int(bounded), int(driven)]

    @mx.custom_function
    def run(x, y, h, bx, by):
        return kernels.call("convlstm_gru_gates", [x, y, h, bx, by], [h.shape], numbers(h))[0]

    @run.vjp
    def _(primals, cotangent, _):
        shapes = [a.shape for a in primals]
        gradients = kernels.call("convlstm_gru_gates_backward", [*primals, cotangent], shapes, numbers(primals[2]))
        if not driven:
            gradients[0], gradients[3] = mx.zeros_like(primals[0]), mx.zeros_like(primals[3])
        return tuple(gradients)

    return run
