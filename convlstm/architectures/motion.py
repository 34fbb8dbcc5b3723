"""The motion in a sequence of frames, by a pyramid of least squares with windows that reach far."""

from __future__ import annotations

import math

from convlstm.arguments import MOST, check_whole

import mlx.core as mx

LARGEST = 1e6
"""Values and motions from here on, and NaN, count as 0: their squares would overflow, and NaN leads to no pixel."""

# The windows' widths, in that of the narrowest, and the weight of each beside the one before: little where there is
# texture, everything where there is none.
_WIDTHS, _TAIL = (1, 4, 16, math.inf), 0.02
# Pairs of frames are at most so far apart; the weight of a pair beside one that is a frame younger, and of one beside
# another whose frames lie a frame closer together.
_REACH, _AGE, _LAG = 2, 0.8, 0.5
# Cells of the shorter side below which a grid is not halved again.
_COARSEST = 32
# Along a straight edge, least squares leaves the motion open: this share of the gradients' energy holds it to what the
# iteration before found. What is added to that keeps 0 / 0 away and lies below the energy of the rounding errors.
_DAMPING, _FLOOR = 1e-2, 1e-12


def motion(
    inputs: mx.array, *, frames: int = 5, points: int = 128, window: float = 2.0, iterations: int = 3
) -> mx.array:
    r"""The motion u that the frames of each sequence share, (N, T, H, W, C) -> (N, H, W, 2).

    The brightness I, the mean over the channels, is constant along the motion. For the frames t and t - k of all pairs
    of the last frames and a motion u that is nearly known,

        I_t(x) - I_{t-k}(x - k u) + k grad I . (u* - u) = 0,

    and the motion u* at x is the weighted least-squares solution around x,

        u* = (sum w g g^T + D)^-1 (sum w g (g . u - r) + D u),   g = k grad I,  r = I_t(x) - I_{t-k}(x - k u),

    where D, a hundredth of the trace, holds to u what the frames leave open, such as motion along a straight edge.
    The weights w are those of the pair (younger pairs count more, distant ones less) times a sum of three Gaussians and
    a constant, each wider than the one before and far weaker. So the motion follows the rain
    where there is rain, and elsewhere continues smoothly what moves nearby. It is found on coarse grids first: each
    finer one, down to `points` cells a side, starts from the coarser one's result. Without any texture it is 0.

    Args:
        inputs: (N, T, H, W, C), oldest frame first; T = 1 shows no motion. NaN counts as 0, as do 1e6 and more.
        frames: How many of the last frames to look at, at least 2. Default: 5.
        points: Cells along the shorter side of the finest grid on which motion is sought; smaller frames are taken as
            they are. Default: 128.
        window: Standard deviation of the narrowest Gaussian, in cells of each grid. Default: 2.
        iterations: Solutions on each grid, each linearised at the one before. Default: 3.

    Returns:
        (N, H, W, 2), float32: (dy, dx) in pixels per frame; what is at x was at x - u a frame before. No gradient flows
        back to the inputs.

    Raises:
        ValueError: The inputs are not NTHWC or have no frames, or an argument is out of its range.

    Sources: Lucas and Kanade, An Iterative Image Registration Technique with an Application to Stereo Vision, 1981;
    Horn and Schunck, Determining Optical Flow, 1981, for motion that is filled in where there is no texture; Bowler et
    al., Development of a Precipitation Nowcasting Algorithm Based upon Optical Flow Techniques, 2004, for rain.
    """
    check_motion("motion", frames, points, window, iterations)
    if inputs.ndim != 5 or 0 in inputs.shape:
        raise ValueError(
            f"[motion] expected inputs of shape NTHWC, none of them 0, but got shape {tuple(inputs.shape)}."
        )
    I = mx.stop_gradient(inputs[:, -frames:]).astype(mx.float32)
    I = mx.where(mx.abs(I) < LARGEST, I, 0).mean(axis=-1)
    N, T, H, W = I.shape
    u = mx.zeros((2, N, 1, 1))
    if T > 1:
        for h, w in _grids(H, W, points):
            # Averaged as wide as a cell, so that what the grid cannot show does not alias into it.
            A, B = _gaussian(H, h, 0.5 * H / h), _gaussian(W, w, 0.5 * W / w)
            u = _refine(A @ I @ B.T, _resize(u, h, w), window, iterations)
    return mx.moveaxis(_resize(u, H, W), 0, -1)


def check_motion(owner: str, frames: int, points: int, window: float, iterations: int) -> None:
    """ValueError where an argument of `motion` is out of its range."""
    for name, value, least in (("frames", frames, 2), ("points", points, 1), ("iterations", iterations, 1)):
        if type(value) is not int or value < least:
            raise ValueError(f"[{owner}] '{name}' must be a whole number of at least {least} but got {value!r}.")
        check_whole(owner, name, value, least, 100 if name == "iterations" else MOST)
    if not 0 < window < math.inf:
        raise ValueError(f"[{owner}] 'window' must be a finite number above 0 but got {window!r}.")


def bilinear(field: mx.array, y: mx.array, x: mx.array) -> mx.array:
    """The values of fields between their pixels; beyond the border, those of the nearest pixel of the border.

    Args:
        field: (..., H, W).
        y, x: (..., H', W'), in pixels: row and column. The dimensions in front broadcast to those of the field.

    Returns:
        (..., H', W').
    """
    *_, H, W = field.shape
    bottom, right = edges(H, W)
    y, x = mx.clip(y, 0, bottom), mx.clip(x, 0, right)
    top, left = mx.floor(y), mx.floor(x)
    a, b = y - top, x - left
    rows = [row.astype(mx.int32) for row in (top, mx.minimum(top + 1, bottom))]
    columns = [column.astype(mx.int32) for column in (left, mx.minimum(left + 1, right))]
    width = right.astype(mx.int32) + 1

    def pixels(row: mx.array, column: mx.array) -> mx.array:
        # On a CPU ten times faster than indexing.
        values = mx.take_along_axis(field.flatten(-2), (row * width + column).flatten(-2), axis=-1)
        return values.reshape(*values.shape[:-1], *row.shape[-2:])

    upper, lower = ((1 - b) * pixels(row, columns[0]) + b * pixels(row, columns[1]) for row in rows)
    return (1 - a) * upper + a * lower


def edges(H: int, W: int) -> mx.array:
    """The last row and column, H - 1 and W - 1.

    As elements of an array they are no constants of compiled kernels, so that one kernel serves all sizes.
    """
    return mx.array([H - 1.0, W - 1.0])


def positions(H: int, W: int) -> tuple[mx.array, mx.array]:
    """Row and column of each pixel, as a column and a row that broadcast to (H, W)."""
    return mx.arange(H, dtype=mx.float32)[:, None], mx.arange(W, dtype=mx.float32)


def _grids(H: int, W: int, points: int) -> list[tuple[int, int]]:
    """Heights and widths of the grids, coarsest first, each twice as fine as the one before."""
    cell = max(min(H, W) // points, 1)
    grids = [(math.ceil(H / cell), math.ceil(W / cell))]
    while min(grids[0]) >= _COARSEST:
        cell *= 2
        grids.insert(0, (math.ceil(H / cell), math.ceil(W / cell)))
    return grids


def _refine(I: mx.array, u: mx.array, window: float, iterations: int) -> mx.array:
    """The motion (2, N, h, w) in cells on the grid of the frames I (N, T, h, w), from one that is nearly right."""
    T, h, w = I.shape[1:]
    pairs = [(t, k) for k in range(1, min(_REACH + 1, T)) for t in range(k, T)]
    now, before = (mx.take(I, mx.array(ts), axis=1) for ts in ([t for t, _ in pairs], [t - k for t, k in pairs]))
    weights = mx.array([_AGE ** (T - 1 - t) * _LAG ** (k - 1) for t, k in pairs]).reshape(-1, 1, 1)
    k = mx.array([float(k) for _, k in pairs]).reshape(-1, 1, 1)
    rows, columns = positions(h, w)
    bottom, right = edges(h, w)
    A, B = (mx.stack([_gaussian(n, n, window * width) for width in _WIDTHS]) for n in (h, w))
    tails = mx.array([_TAIL**i for i in range(len(_WIDTHS))]).reshape(-1, 1, 1)

    for _ in range(iterations):
        y, x = rows - k * u[0][:, None], columns - k * u[1][:, None]
        there = bilinear(before, y, x)
        r = now - there
        gy, gx = (k * g for g in _gradient((now + there) / 2))
        # Nobody knows what comes in over the border.
        m = mx.where((y >= 0) & (y <= bottom) & (x >= 0) & (x <= right), weights, 0)
        a, b, c, p, q = ((m * g).sum(axis=1) for g in (gy * gy, gy * gx, gx * gx, gy * r, gx * r))
        sums = mx.stack([a, b, c, a * u[0] + b * u[1] - p, b * u[0] + c * u[1] - q])
        # A window's sums are a product with matrices from both sides.
        a, b, c, p, q = (tails * (A @ sums[..., None, :, :] @ B.swapaxes(-1, -2))).sum(axis=-3)
        damping = _DAMPING * (a + c) + _FLOOR
        a, c, p, q = a + damping, c + damping, p + damping * u[0], q + damping * u[1]
        u = mx.stack([c * p - b * q, a * q - b * p]) / (a * c - b * b)
    return u


def _gradient(f: mx.array) -> tuple[mx.array, mx.array]:
    """Differences down and across (..., h, w): central ones, one-sided at the border."""
    return _difference(f.swapaxes(-1, -2)).swapaxes(-1, -2), _difference(f)


def _difference(f: mx.array) -> mx.array:
    if f.shape[-1] == 1:
        return mx.zeros_like(f)
    step = f[..., 1:] - f[..., :-1]
    # The step over the border is taken for as large as the last one before it.
    step = mx.concatenate([step[..., :1], step, step[..., -1:]], axis=-1)
    return (step[..., 1:] + step[..., :-1]) / 2


def _centres(n: int, m: int) -> mx.array:
    """Where the centres of m equal cells lie on a line of n pixels, (m, 1)."""
    return (mx.arange(m, dtype=mx.float32)[:, None] + 0.5) * mx.array([n / m, 1])[0] - 0.5


def _gaussian(n: int, m: int, sigma: float) -> mx.array:
    """The matrix (m, n) that averages n pixels around the centres of m cells, with Gaussian weights."""
    distance = (_centres(n, m) - mx.arange(n, dtype=mx.float32)) / mx.array([sigma, 1])[0]
    weights = mx.exp(-0.5 * distance * distance)
    return weights / weights.sum(axis=1, keepdims=True)


def _resize(u: mx.array, H: int, W: int) -> mx.array:
    """A motion (2, N, h, w), in cells, on the grid (H, W), in its cells."""
    h, w = u.shape[-2:]
    A, B = (_linear(n, m) for n, m in ((h, H), (w, W)))
    return A @ u @ B.T * mx.array([H / h, W / w]).reshape(2, 1, 1, 1)


def _linear(n: int, m: int) -> mx.array:
    """The matrix (m, n) that interpolates between n pixels at the centres of m cells."""
    distance = mx.abs(mx.clip(_centres(n, m), 0, n - 1) - mx.arange(n, dtype=mx.float32))
    return mx.maximum(1 - distance, 0)
