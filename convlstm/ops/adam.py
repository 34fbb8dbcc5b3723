"""A step of Adam as one operation of MLX's graph, by the CPU's kernel."""

from __future__ import annotations

from convlstm.ops.cpu.library import library

import mlx.core as mx


def adam_step(
    parameter: mx.array,
    gradient: mx.array,
    m: mx.array,
    v: mx.array,
    betas: tuple[float, float],
    rate: mx.array,
    corrected: mx.array | float,
    eps: float,
    kept: mx.array | float = 1.0,
) -> tuple[mx.array, mx.array, mx.array]:
    """Returns a parameter after a step of Adam, and the averages of its gradients, in float32 on the CPU.

        m' = b1 m + (1 - b1) g,  v' = b2 v + (1 - b2) g^2
        w' = kept w - rate m' / (corrected sqrt(v') + eps)

    Args:
        parameter, gradient, m, v: w, g and the averages so far, of one shape. Their memory is taken over if nothing
            else needs them.
        betas: b1 and b2.
        rate: The learning rate, corrected for the start of m at 0 if that is wanted; a scalar.
        corrected: The same correction for the start of v, or 1; a scalar.
        eps: Number that keeps the denominator above 0.
        kept: What weight decay leaves of w; a scalar. Default: 1, no decay.

    Raises:
        ValueError: The shapes differ.
    """
    shapes = [a.shape for a in (parameter, gradient, m, v)]
    if len(set(shapes)) > 1:
        raise ValueError(f"[adam_step] parameter, gradient, m and v must have one shape but got {shapes}.")
    b1, b2 = betas
    factors = mx.stack([mx.array(a, mx.float32) for a in (b1, 1 - b1, b2, 1 - b2, kept, rate, corrected, eps)])
    arrays, reused = [parameter, gradient, m, v, factors], {0: 0, 1: 2, 2: 3}
    w, m, v = library().call("convlstm_adam", arrays, shapes[1:], [parameter.size], reused)
    return w, m, v
