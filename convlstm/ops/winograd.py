"""Winograd convolution: stride 1, 'same' padding, float32, for kernels of 3 and 5 rows and columns.

A tile of m x m outputs of an r x r kernel needs n x n inputs, n = m + r - 1. In one dimension

    y = A^T [ (G w) . (B^T d) ]

with m outputs y, kernel w, inputs d, and `.` the element-wise product: n multiplications instead of m r. In two
dimensions each matrix acts on rows and columns, which is one product with its Kronecker square, so that a convolution
is three matrix products: transform the tiles, n*n small products over the channels, transform back. For m = 4 and r = 5
there are 6.25 times fewer multiplications in the middle one, for r = 3 4 times fewer.

Arrays between those steps are tile-major: (m*m, N, tiles, O), the place within a tile first.

Each step has its transpose (`..._transposed`), from which the gradients are built. Errors relative to the largest
output, against float64: about 5e-6 for r = 3 and 1e-5 for r = 5.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import mlx.core as mx
import numpy as np

TILE = 4
KERNELS = (3, 5)
_POINTS = [Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2")]


def cook_toom(m: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices A^T (m, n), G (n, r) and B^T (n, n) of the one-dimensional algorithm, in float64.

    They come from evaluating polynomials at n - 1 small points and at infinity, in exact fractions.
    """
    n = m + r - 1
    points = _POINTS[: n - 1]
    AT = [[x**i for x in points] + [Fraction(int(i == m - 1))] for i in range(m)]
    G, BT = [], []
    for j, x in enumerate(points):
        others = points[:j] + points[j + 1 :]
        scale = Fraction(1)
        polynomial = [Fraction(1)]
        for other in others:
            scale *= x - other
            shifted = [Fraction(0), *polynomial]
            polynomial = [a - other * b for a, b in zip(shifted, [*polynomial, Fraction(0)], strict=True)]
        G.append([x**i / scale for i in range(r)])
        BT.append([*polynomial, Fraction(0)])
    polynomial = [Fraction(1)]
    for x in points:
        shifted = [Fraction(0), *polynomial]
        polynomial = [a - x * b for a, b in zip(shifted, [*polynomial, Fraction(0)], strict=True)]
    G.append([Fraction(int(i == r - 1)) for i in range(r)])
    BT.append(polynomial)
    return _floats(AT), _floats(G), _floats(BT)


def _floats(rows: list[list[Fraction]]) -> np.ndarray:
    return np.array([[float(v) for v in row] for row in rows])


class Winograd:
    """The transforms for one kernel size and one grid.

    Args:
        kernel_size: (rows, columns), each in `KERNELS`.
        height, width: The grid, any size: tiles that reach over the edge are filled with zeros and cut off again.
    """

    def __init__(self, kernel_size: tuple[int, int], height: int, width: int):
        self.r, self.n = kernel_size, tuple(TILE + k - 1 for k in kernel_size)
        self.height, self.width = height, width
        self.rows, self.columns = -(-height // TILE), -(-width // TILE)
        self.tiles = self.rows * self.columns
        self.points = self.n[0] * self.n[1]
        (AT, G, BT), (AT2, G2, BT2) = (cook_toom(TILE, k) for k in kernel_size)
        with mx.stream(mx.cpu):
            self._AT, self._A, self._G, self._GT, self._BT, self._B = (
                mx.array(np.ascontiguousarray(matrix, dtype=np.float32))
                for pair in ((AT, AT2), (G, G2), (BT, BT2))
                for matrix in (np.kron(*pair), np.kron(*pair).T)
            )

    def filters(self, w: mx.array) -> mx.array:
        """Kernels (O, kh, kw, C) -> (n*n, C, O)."""
        O, kh, kw, C = w.shape
        return (self._G @ w.transpose(1, 2, 3, 0).reshape(kh * kw, C * O)).reshape(self.points, C, O)

    def filters_transposed(self, dU: mx.array) -> mx.array:
        """(n*n, C, O) -> (O, kh, kw, C)."""
        _, C, O = dU.shape
        return (self._GT @ dU.reshape(self.points, C * O)).reshape(*self.r, C, O).transpose(3, 0, 1, 2)

    def gather(self, x: mx.array) -> mx.array:
        """Transformed input tiles: (N, H, W, C) -> (n*n, N*tiles, C)."""
        N, H, W, C = x.shape
        low = [k // 2 for k in self.r]
        high = [TILE * count + k - 1 - size - p for count, k, size, p in self._axes(low)]
        x = mx.pad(x, [(0, 0), (low[0], high[0]), (low[1], high[1]), (0, 0)])
        row, image = x.shape[2] * C, x.shape[1] * x.shape[2] * C
        shape = (*self.n, N, self.rows, self.columns, C)
        d = mx.as_strided(x, shape, (row, C, image, TILE * row, TILE * C, 1))
        return (self._BT @ d.reshape(self.points, -1)).reshape(self.points, -1, C)

    def _axes(self, low):
        return zip((self.rows, self.columns), self.r, (self.height, self.width), low, strict=True)

    def gather_transposed(self, dV: mx.array) -> mx.array:
        """(n*n, N*tiles, C) -> tile-major (m*m, N, tiles, C): the tiles are added where they overlap."""
        C = dV.shape[-1]
        d = (self._B @ dV.reshape(self.points, -1)).reshape(*self.n, -1, self.rows, self.columns, C)
        d = _overlap_add(d, 0, 3, self.r[0] // 2)
        d = _overlap_add(d, 1, 4, self.r[1] // 2)
        return self.cut_edges(d.reshape(TILE * TILE, -1, self.tiles, C))

    def cut_edges(self, y: mx.array) -> mx.array:
        """Tile-major arrays with zeros for the places of the last tiles that are not on the grid."""
        if (self.rows * TILE, self.columns * TILE) == (self.height, self.width):
            return y
        return self.to_tiles(self.from_tiles(y))

    def scatter(self, M: mx.array) -> mx.array:
        """Outputs, tile-major, from products: (..., n*n, N*tiles, O) -> (..., m*m, N, tiles, O)."""
        *lead, _, _, O = M.shape
        return (self._AT @ M.reshape(*lead, self.points, -1)).reshape(*lead, TILE * TILE, -1, self.tiles, O)

    def scatter_transposed(self, dy: mx.array) -> mx.array:
        """(m*m, N, tiles, O) -> (n*n, N*tiles, O)."""
        O = dy.shape[-1]
        return (self._A @ dy.reshape(TILE * TILE, -1)).reshape(self.points, -1, O)

    def to_tiles(self, y: mx.array) -> mx.array:
        """(N, H, W, O) -> tile-major (m*m, N, tiles, O), zeros beyond the edge."""
        N, H, W, O = y.shape
        missing = (self.rows * TILE - H, self.columns * TILE - W)
        if any(missing):
            y = mx.pad(y, [(0, 0), (0, missing[0]), (0, missing[1]), (0, 0)])
        y = y.reshape(N, self.rows, TILE, self.columns, TILE, O).transpose(2, 4, 0, 1, 3, 5)
        return y.reshape(TILE * TILE, N, self.tiles, O)

    def from_tiles(self, y: mx.array) -> mx.array:
        """Tile-major (m*m, N, tiles, O) -> (N, H, W, O)."""
        _, N, _, O = y.shape
        y = y.reshape(TILE, TILE, N, self.rows, self.columns, O).transpose(2, 3, 0, 4, 1, 5)
        return y.reshape(N, self.rows * TILE, self.columns * TILE, O)[:, : self.height, : self.width]


def _overlap_add(d: mx.array, place: int, tile: int, reach: int) -> mx.array:
    """Adds what tiles reach beyond their m inputs, on one axis: `place` within the tile, `tile` the tile's number."""
    if not reach:
        return d
    before, first, middle, last, after = mx.split(d, [reach, 2 * reach, TILE, TILE + reach], axis=place)
    pieces = [first + _shift(after, tile, 1), middle, last + _shift(before, tile, -1)]
    return mx.concatenate([piece for piece in pieces if piece.size], axis=place)


def _shift(a: mx.array, axis: int, by: int) -> mx.array:
    """Moves `a` one tile up (-1) or down (1) its axis; zeros come in."""
    pad = [(0, 0)] * a.ndim
    pad[axis] = (1, 0) if by > 0 else (0, 1)
    length = a.shape[axis]
    part = mx.split(a, [length - 1], axis=axis)[0] if by > 0 else mx.split(a, [1], axis=axis)[1]
    return mx.pad(part, pad) if part.size else mx.zeros_like(a)


@lru_cache(maxsize=64)
def winograd(kernel_size: tuple[int, int], height: int, width: int) -> Winograd:
    """The transforms for a kernel size and a grid, made once."""
    return Winograd(kernel_size, height, width)
