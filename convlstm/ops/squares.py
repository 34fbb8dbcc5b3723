"""The sum of the squares of an array's values, of which the norm of gradients is made."""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx


def sum_of_squares(x: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns the sum of the squares of all values, a scalar in float32. It has no gradient of its own.

    Args:
        x: Array of any shape.
        algorithm: 'native' is MLX's own sum, on one thread of a CPU; the others use the kernel of `convlstm.ops.cpu` if
            it fits. Its result is the same with any number of threads. Default: 'auto'.
    """
    if takes_kernels(algorithm, x):
        return library().call("convlstm_squares", [x], [(1,)], [x.size])[0].reshape(())
    return x.astype(mx.float32).square().sum()
