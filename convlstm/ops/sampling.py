"""Fields read between their pixels, and moved along motions.

`bilinear` and `drift` have kernels for CPUs, which tests compare with the plain forms.
"""

from __future__ import annotations

from functools import cache

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx

LARGEST = 1e6
"""Values and motions above this, and NaN, count as 0: squares would overflow, and NaN is not a position."""


def bilinear(field: mx.array, y: mx.array, x: mx.array, circular: bool = False, algorithm: str = "auto") -> mx.array:
    """Returns the values of fields between their pixels, or of the nearest pixel beyond the border.

    Args:
        field: (..., H, W).
        y, x: (..., H', W'), in pixels: row and column. The leading dimensions broadcast to those of the field.
        circular: True if the columns go round. Default: False.
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.

    Returns:
        (..., H', W').
    """
    if not takes_kernels(algorithm, field, y, x):
        return plain_bilinear(field, y, x, circular)
    return _kernel_bilinear(circular)(field, *mx.broadcast_arrays(y, x))


def plain_bilinear(field: mx.array, y: mx.array, x: mx.array, circular: bool = False) -> mx.array:
    """Returns `bilinear` by MLX's own operations."""
    *_, H, W = field.shape
    bottom, right = edges(H, W)
    y, x = (a.reshape(*[1] * (field.ndim - a.ndim), *a.shape) for a in (y, x))
    y = mx.clip(y, 0, bottom)
    x = mx.clip(x, -2 * LARGEST, 2 * LARGEST) if circular else mx.clip(x, 0, right)
    top, left = mx.stop_gradient(mx.floor(y)), mx.stop_gradient(mx.floor(x))
    a, b = y - top, x - left
    rows = [row.astype(mx.int32) for row in (top, mx.minimum(top + 1, bottom))]
    if circular:
        columns = [(column.astype(mx.int32) % W + W) % W for column in (left, left + 1)]
    else:
        columns = [column.astype(mx.int32) for column in (left, mx.minimum(left + 1, right))]
    width = right.astype(mx.int32) + 1

    def pixels(row: mx.array, column: mx.array) -> mx.array:
        # On a CPU ten times faster than indexing.
        values = mx.take_along_axis(field.flatten(-2), (row * width + column).flatten(-2), axis=-1)
        return values.reshape(*values.shape[:-1], *row.shape[-2:])

    upper, lower = ((1 - b) * pixels(row, columns[0]) + b * pixels(row, columns[1]) for row in rows)
    return (1 - a) * upper + a * lower


def edges(H: int, W: int) -> mx.array:
    """Returns the last row and column, H - 1 and W - 1.

    They are elements of an array and not constants of a compiled kernel, so that one kernel serves all sizes.
    """
    return mx.array([H - 1.0, W - 1.0])


@cache
def _kernel_bilinear(circular: bool):
    def call(name: str, arrays: list[mx.array], outputs: list[int | None]) -> list[mx.array]:
        """Calls a kernel with field, y, x and more; the shapes of its results are those of inputs, None: the values."""
        field, y, x, *more = arrays
        *leading, H, W = field.shape
        size = y.shape[-2:]
        shared = _is_shared(field, y)
        if not shared:
            y, x = (mx.broadcast_to(a, (*leading, *size)) for a in (y, x))
        numbers = [y.size // (size[0] * size[1]), leading[-1] if shared else 1, H, W, size[0] * size[1], int(circular)]
        inputs = [field, y, x, *more]
        shapes = [(*leading, *size) if n is None else inputs[n].shape for n in outputs]
        return library().call(name, inputs, shapes, numbers)

    @mx.custom_function
    def run(field, y, x):
        return call("convlstm_bilinear", [field, y, x], [None])[0]

    @run.vjp
    def _(primals, cotangent, _):
        gradients = call("convlstm_bilinear_backward", [*primals, cotangent], [0, 1, 2])
        return tuple(_summed(g, primal.shape) for g, primal in zip(gradients, primals, strict=True))

    return run


def _is_shared(field: mx.array, y: mx.array) -> bool:
    """Returns True if the channels of fields share their places, which are then read together."""
    return y.ndim == field.ndim > 2 and y.shape[:-3] == field.shape[:-3] and y.shape[-3] == 1


def _summed(a: mx.array, shape: tuple[int, ...]) -> mx.array:
    """Returns the sum of an array over the axes along which `shape` was broadcast to it."""
    a = a.sum(axis=tuple(range(a.ndim - len(shape))))
    for axis, length in enumerate(shape):
        if length == 1 < a.shape[axis]:
            a = a.sum(axis=axis, keepdims=True)
    return a


def drift(
    fields: mx.array,
    places: mx.array,
    flow: mx.array,
    errors: mx.array,
    *,
    margin: float | None = None,
    circular: bool = False,
    scale: tuple[float, float, float] | None = None,
    algorithm: str = "auto",
) -> tuple[mx.array, mx.array]:
    r"""Returns the fields that arrive after a further step along motions, and where they come from.

    The motion is that of a flow u with an error, v = u + a p + b q, with the directions p along u and q across it. A
    step goes back from the place s by the midpoint rule,

        d = v(s),  d = v(s - d / 2),  s' = s - d,

    and the field at s' arrives. So a field is interpolated once, whatever the number of steps.

    Args:
        fields: (m, H, W).
        places: s, rows and columns, (m, 2, H, W): at first those of the pixels, `starts`.
        flow: u as rows and columns, (H, W, 2), or (m, H, W, 2), one for each field.
        errors: a and b, (m, 2).
        margin: What comes from beyond the frame by more than so many pixels is 0. Default: None, the value at the
            border.
        circular: True if the columns go round. Default: False.
        scale: (lowest, width, threshold): the values z that arrive become (z - lowest) / width in [0, 1], and those
            below the threshold 0. Default: None, they stay as they are.
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.

    Returns:
        (m, H, W) and s', (m, 2, H, W).

    Source: Germann and Zawadzki, Scale-Dependence of the Predictability of Precipitation from Continental Radar Images.
    Part I, 2002.
    """
    m, H, W = fields.shape
    flow = flow.reshape(-1, H, W, 2)
    speed = mx.sqrt((flow * flow).sum(axis=-1, keepdims=True))
    along = mx.where(speed > 1e-6, flow / mx.maximum(speed, 1e-6), 0)
    if takes_kernels(algorithm, fields, places, flow, errors):
        inputs = [fields, places, mx.concatenate([flow, along], axis=-1), errors]
        inputs.append(mx.array([*((0.0, 0.0, 0.0) if scale is None else scale), -1.0 if margin is None else margin]))
        shapes, numbers = [fields.shape, places.shape], [m, H, W, int(circular), len(flow)]
        frames, places = library().call("convlstm_drift", inputs, shapes, numbers, reused={1: 1})
        return frames, places
    u, p = flow.transpose(0, 3, 1, 2), along.transpose(0, 3, 1, 2)
    a, b = (errors[:, n].reshape(m, 1, 1, 1) for n in range(2))
    moving = u + a * p + b * mx.concatenate([-p[:, 1:], p[:, :1]], axis=1)
    y, x = places[:, :1], places[:, 1:]
    d = plain_bilinear(moving, y, x, circular)
    d = plain_bilinear(moving, y - d[:, :1] / 2, x - d[:, 1:] / 2, circular)
    y, x = y - d[:, :1], x - d[:, 1:]
    z = plain_bilinear(fields[:, None], y, x, circular)[:, 0]
    if margin is not None:
        bottom, right = edges(H, W)
        inside = (y >= -margin) & (y <= bottom + margin)
        inside = inside if circular else inside & (x >= -margin) & (x <= right + margin)
        z = mx.where(inside[:, 0], z, 0)
    if scale is not None:
        lowest, width, threshold = scale
        scaled = mx.clip((z - lowest) / width, 0, 1)
        z = mx.where(z >= threshold, scaled, mx.where(mx.isnan(z), z, 0))
    return z, mx.concatenate([y, x], axis=1)


def starts(m: int, H: int, W: int) -> mx.array:
    """Returns rows and columns of the pixels for m fields, (m, 2, H, W)."""
    rows, columns = mx.arange(H, dtype=mx.float32)[:, None], mx.arange(W, dtype=mx.float32)
    return mx.broadcast_to(mx.stack(list(mx.broadcast_arrays(rows, columns))), (m, 2, H, W))
