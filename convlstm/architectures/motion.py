"""The motion in a sequence of frames (optical flow), by least squares on a pyramid of grids with wide windows."""

from __future__ import annotations

import math

from convlstm.arguments import check_number, check_whole
from convlstm.ops.motion_equations import Pair, motion_equations
from convlstm.ops.sampling import LARGEST

import mlx.core as mx

# Widths of the windows, relative to the narrowest, and the weight of each relative to the one before. After them comes
# the whole frame. The wider ones hardly count if there is texture, and decide if there is none.
_WIDTHS, _TAIL = (1, 4, 16), 0.02
# Largest distance of a pair's frames; the factors of the weight for each frame by which a pair is older, and by which
# its two frames are further apart.
_REACH, _AGE, _LAG = 2, 0.8, 0.5
# Cells of the shorter side below which a grid is not halved again.
_COARSEST = 32
# Along a straight edge, least squares does not determine the motion. This share of the gradients' energy keeps it at
# the result of the iteration before. The floor prevents 0 / 0 and lies below the energy of rounding errors.
_DAMPING, _FLOOR = 1e-2, 1e-12


def motion(
    inputs: mx.array,
    *,
    frames: int = 5,
    points: int = 128,
    window: float = 2.0,
    iterations: int = 3,
    circular: bool = False,
) -> mx.array:
    r"""Returns the motion u that the frames of each sequence share, (N, T, H, W, C) -> (N, H, W, 2).

    The brightness I, the mean over the channels, is constant along the motion. For the frames t and t - k of all pairs
    of the last frames and an approximate motion u,

        I_t(x) - I_{t-k}(x - k u) + k grad I . (u* - u) = 0,

    and the motion u* at x is the weighted least-squares solution around x,

        u* = (sum w g g^T + D)^-1 (sum w g (g . u - r) + D u),   g = k grad I,  r = I_t(x) - I_{t-k}(x - k u),

    where D, a hundredth of the trace, keeps what the frames do not determine at u, such as motion along an edge.
    The weights w are those of the pair (younger pairs count more, distant ones less) times a sum of three Gaussians and
    a constant, each wider than the one before and far weaker. So the motion follows the rain, and between areas of rain
    it continues smoothly what moves nearby. Coarse grids come first: each finer one, up to `points` cells a side,
    starts from the coarser one's result. Without any texture the motion is 0.

    Args:
        inputs: (N, T, H, W, C), oldest frame first; T = 1 shows no motion. NaN and values of 1e6 or more count as 0.
        frames: Number of last frames to use, at least 2. Default: 5.
        points: Cells along the shorter side of the finest grid; smaller frames are used as they are. Default: 128.
        window: Standard deviation of the narrowest Gaussian, in cells of each grid. Default: 2.
        iterations: Solutions on each grid, each linearised at the one before. Default: 3.
        circular: True for frames whose columns go round, as those of a map of the earth. Default: False.

    Returns:
        (N, H, W, 2), float32: (dy, dx) in pixels per frame; the content of x was at x - u a frame before. No gradient
        flows back to the inputs.

    Raises:
        ValueError: The inputs are not NTHWC or have no frames, or an argument is out of its range.

    Sources: Lucas and Kanade, An Iterative Image Registration Technique with an Application to Stereo Vision, 1981;
    Horn and Schunck, Determining Optical Flow, 1981, for motion that is filled in without texture; Bowler et
    al., Development of a Precipitation Nowcasting Algorithm Based upon Optical Flow Techniques, 2004, for rain.
    """
    check_motion("motion", frames, points, window, iterations)
    _check_inputs(inputs)
    cell = max(min(inputs.shape[2:4]) // points, 1)
    return _motions(inputs, cell, frames, window, iterations, circular)[0]


def motions(
    inputs: mx.array, cells: int, *, frames: int = 5, window: float = 2.0, iterations: int = 3
) -> list[mx.array]:
    """Returns the motion on grids with cells of 1, 2, 4, ... pixels, finest first: `cells` of (N, H, W, 2).

    Each is the `motion` of its grid, and all of them take no longer than the finest. A frame that is too small for the
    coarser grids has the coarsest motion that it allows in their place.

    Raises:
        ValueError: As in `motion`, or `cells` is below 1.
    """
    check_motion("motions", frames, 1, window, iterations)
    _check_inputs(inputs)
    found = _motions(inputs, 1, frames, window, iterations, False)
    found += [found[-1]] * (check_whole("motions", "cells", cells) - len(found))
    return found[:cells]


def _check_inputs(inputs: mx.array) -> None:
    if inputs.ndim != 5 or 0 in inputs.shape:
        raise ValueError(f"[motion] expected inputs of shape NTHWC, no side 0, but got shape {tuple(inputs.shape)}.")


def _motions(
    inputs: mx.array, cell: int, frames: int, window: float, iterations: int, circular: bool
) -> list[mx.array]:
    """Returns the motion on the grids with cells of `cell`, 2 `cell`, ... pixels, (N, H, W, 2) each."""
    I = mx.stop_gradient(inputs[:, -frames:]).astype(mx.float32)
    I = mx.where(mx.abs(I) < LARGEST, I, 0).mean(axis=-1)
    N, T, H, W = I.shape
    u = mx.zeros((2, N, 1, 1))
    found = []
    for h, w in _grids(H, W, cell) if T > 1 else ():
        # Averaged over the width of a cell, so that details finer than the grid do not alias into it.
        A, B = _gaussian(H, h, 0.5 * H / h), _gaussian(W, w, 0.5 * W / w, circular)
        u = _refine(A @ I @ B.T, _resize(u, h, w, circular), window, iterations, circular)
        found.append(u)
    return [mx.moveaxis(_resize(u, H, W, circular), 0, -1) for u in reversed(found or [u])]


def check_motion(owner: str, frames: int, points: int, window: float, iterations: int) -> None:
    """Raises ValueError if an argument of `motion` is out of its range."""
    check_whole(owner, "frames", frames, 2)
    check_whole(owner, "points", points)
    check_whole(owner, "iterations", iterations, most=100)
    check_number(owner, "window", window, above=0)


def positions(H: int, W: int) -> tuple[mx.array, mx.array]:
    """Returns row and column of each pixel, as a column and a row that broadcast to (H, W)."""
    return mx.arange(H, dtype=mx.float32)[:, None], mx.arange(W, dtype=mx.float32)


def _grids(H: int, W: int, cell: int) -> list[tuple[int, int]]:
    """Returns heights and widths of the grids, coarsest first, each twice as fine as the one before."""
    grids = [(math.ceil(H / cell), math.ceil(W / cell))]
    while min(grids[0]) >= _COARSEST:
        cell *= 2
        grids.insert(0, (math.ceil(H / cell), math.ceil(W / cell)))
    return grids


def _refine(I: mx.array, u: mx.array, window: float, iterations: int, circular: bool) -> mx.array:
    """Returns the motion (2, N, h, w) of frames I (N, T, h, w), in cells of their grid, from an approximate motion."""
    T, h, w = I.shape[1:]
    pairs = [
        Pair(t, k, _AGE ** (T - 1 - t) * _LAG ** (k - 1)) for k in range(1, min(_REACH + 1, T)) for t in range(k, T)
    ]
    # A window's sums are a product with matrices from both sides.
    A = mx.concatenate([_TAIL**i * _gaussian(h, h, window * width) for i, width in enumerate(_WIDTHS)])
    B = mx.concatenate([_gaussian(w, w, window * width, circular).T for width in _WIDTHS])

    for _ in range(iterations):
        sums = mx.stack(motion_equations(I, u, pairs, circular))
        left = mx.moveaxis((A @ sums).reshape(*sums.shape[:2], len(_WIDTHS), h, w), 2, 3)
        whole = _TAIL ** len(_WIDTHS) * sums.mean(axis=(-2, -1), keepdims=True)
        a, b, c, p, q = left.reshape(*sums.shape[:3], -1) @ B + whole
        damping = _DAMPING * (a + c) + _FLOOR
        a, c, p, q = a + damping, c + damping, p + damping * u[0], q + damping * u[1]
        u = mx.stack([c * p - b * q, a * q - b * p]) / (a * c - b * b)
    return u


def _centres(n: int, m: int) -> mx.array:
    """Returns the positions of the centres of m equal cells on a line of n pixels, (m, 1)."""
    return (mx.arange(m, dtype=mx.float32)[:, None] + 0.5) * mx.array([n / m, 1])[0] - 0.5


def _gaussian(n: int, m: int, sigma: float, circular: bool = False) -> mx.array:
    """Returns the matrix (m, n) that averages n pixels around the centres of m cells, with Gaussian weights."""
    distance = _centres(n, m) - mx.arange(n, dtype=mx.float32)
    distance = _around(distance, n) if circular else distance
    distance = distance / mx.array([sigma, 1])[0]
    weights = mx.exp(-0.5 * distance * distance)
    return weights / weights.sum(axis=1, keepdims=True)


def _resize(u: mx.array, H: int, W: int, circular: bool) -> mx.array:
    """Returns a motion (2, N, h, w), in its own cells, on the grid (H, W) and in that grid's cells."""
    h, w = u.shape[-2:]
    A, B = _linear(h, H), _linear(w, W, circular)
    return A @ u @ B.T * mx.array([H / h, W / w]).reshape(2, 1, 1, 1)


def _linear(n: int, m: int, circular: bool = False) -> mx.array:
    """Returns the matrix (m, n) that interpolates between n pixels at the centres of m cells."""
    centres, pixels = _centres(n, m), mx.arange(n, dtype=mx.float32)
    if circular and n > 1:
        return mx.maximum(1 - mx.abs(_around(centres - pixels, n)), 0)
    return mx.maximum(1 - mx.abs(mx.clip(centres, 0, n - 1) - pixels), 0)


def _around(distance: mx.array, n: int) -> mx.array:
    """Returns the shortest distances between pixels on a ring of n."""
    return distance - n * mx.round(distance / n)
