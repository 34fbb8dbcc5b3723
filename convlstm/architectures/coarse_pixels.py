"""Pixels averaged for a model of coarser ones, its forecasts brought back, and a model that runs so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from convlstm.arguments import check_number

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class CoarsePixels:
    """Blocks of pixels that are averaged to one, and the way back to their own grid.

    The mean of a block is that of its known pixels, in physical units. Blocks at the lower and the right edge may have
    fewer pixels. On the way back, a pixel is interpolated linearly between the centres of the blocks, whose values are
    changed first so that the means over blocks are about those that were forecast: c + (c - A U c), where U
    interpolates and A averages. What is negative then becomes 0.

    Args:
        rows, columns: Rows and columns of a block. Default: 1.
    """

    def __init__(self, rows: int = 1, columns: int = 1):
        self.factors = (rows, columns)

    @classmethod
    def towards(cls, wanted_km: float, height_km: float, width_km: float) -> CoarsePixels:
        """Returns the blocks whose sides come closest to a size in km, by their ratio, on the way to square ones.

        Args:
            wanted_km: Side of the blocks; if a pixel is longer, its longer side.
            height_km, width_km: Sides of a pixel.
        """
        sides = [
            check_number("CoarsePixels", name, side, above=0)
            for name, side in (("wanted_km", wanted_km), ("height_km", height_km), ("width_km", width_km))
        ]
        wanted = max(sides)
        rows, columns = (_closest(wanted / side) for side in sides[1:])
        return cls(rows, columns)

    def side(self, height_km: float, width_km: float) -> float:
        """Returns the side in km of squares that are as large as the blocks of pixels with these sides."""
        rows, columns = self.factors
        return math.sqrt(rows * height_km * columns * width_km)

    @property
    def single(self) -> bool:
        """True if a block is a single pixel."""
        return self.factors == (1, 1)

    def averaged(self, frames: np.ndarray) -> np.ndarray:
        """Returns the means of blocks, (..., H, W, C) -> (..., h, w, C); NaN where no pixel of a block is known."""
        if self.single:
            return frames
        known = np.isfinite(frames)
        total, count = np.where(known, frames, np.float32(0)), known.astype(np.float32)
        for axis, factor in zip((-3, -2), self.factors, strict=True):
            starts = np.arange(0, frames.shape[axis], factor)
            total, count = (np.add.reduceat(a, starts, axis=axis) for a in (total, count))
        return np.where(count > 0, total / np.maximum(count, 1), np.float32(np.nan)).astype(np.float32)

    def restored(self, means: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Returns fields of means on their own grid, (..., h, w, C) -> (..., H, W, C); NaN counts as unknown.

        Pixels between unknown means are NaN.

        Args:
            means: Fields of at least 0, as many blocks as `averaged` gives for frames of `size`.
            size: H and W.
        """
        if self.single:
            return means
        sides = [_Side(length, factor) for length, factor in zip(size, self.factors, strict=True)]
        if means.shape[-3:-1] != (sides[0].blocks, sides[1].blocks):
            raise ValueError(
                f"[CoarsePixels] frames of {size[0]}x{size[1]} have {sides[0].blocks}x{sides[1].blocks} blocks but got "
                f"{means.shape[-3]}x{means.shape[-2]}."
            )
        fields = np.moveaxis(means, -1, -3).astype(np.float32)
        known = np.isfinite(fields)
        if known.all():
            fields = 2 * fields - _both(_Side.smoothed, sides, fields)
            fields = _both(_Side.interpolated, sides, fields)
            return np.moveaxis(np.maximum(fields, 0, out=fields), -3, -1)
        weights = known.astype(np.float32)
        fields = np.where(known, fields, 0)
        share = np.maximum(_both(_Side.smoothed, sides, weights), 1e-6)
        fields = weights * (2 * fields - _both(_Side.smoothed, sides, fields) / share)
        share = _both(_Side.interpolated, sides, weights)
        fields = np.maximum(_both(_Side.interpolated, sides, fields) / np.maximum(share, 1e-6), 0)
        return np.moveaxis(np.where(share > 0, fields, np.float32(np.nan)), -3, -1)


class _Side:
    """Interpolation along one side of frames.

    Attributes:
        blocks: Number of blocks.
    """

    def __init__(self, length: int, factor: int):
        starts = np.arange(0, length, factor)
        self.blocks = len(starts)
        ends = np.minimum(starts + factor, length)
        centres = (starts + ends - 1) / 2
        pixels = np.arange(length)
        self._left = np.clip(np.searchsorted(centres, pixels, "right") - 1, 0, max(self.blocks - 2, 0))
        self._right = np.minimum(self._left + 1, self.blocks - 1)
        gaps = np.maximum(centres[self._right] - centres[self._left], 1)
        self._weight = np.clip((pixels - centres[self._left]) / gaps, 0, 1).astype(np.float32)
        # Shares of the block before, the block itself and the one after in the mean of a block's pixels.
        shares = np.zeros((3, self.blocks))
        for block, weight in ((self._left, 1 - self._weight), (self._right, self._weight)):
            own = pixels // factor
            np.add.at(shares, (block - own + 1, own), weight / (ends - starts)[own])
        self._shares = shares.astype(np.float32)

    def interpolated(self, fields: np.ndarray, axis: int) -> np.ndarray:
        """Returns the values of pixels between those of blocks along an axis, -2 or -1."""
        left, right = (np.take(fields, block, axis=axis) for block in (self._left, self._right))
        right -= left
        right *= self._weight.reshape(-1, *[1] * (-axis - 1))
        right += left
        return right

    def smoothed(self, fields: np.ndarray, axis: int) -> np.ndarray:
        """Returns the means over blocks of `interpolated`."""
        before, own, after = (share.reshape(-1, *[1] * (-axis - 1)) for share in self._shares)
        last = fields.shape[axis] - 1
        result = own * fields
        result += before * np.take(fields, np.maximum(np.arange(last + 1) - 1, 0), axis=axis)
        result += after * np.take(fields, np.minimum(np.arange(last + 1) + 1, last), axis=axis)
        return result


class OnCoarsePixels(nn.Module):
    """A model of rain that draws members, on frames of smaller pixels than its own.

    The frames are averaged in physical units, and the members brought back, see `CoarsePixels`.

    Args:
        model: `model(inputs, horizon)` returns members, (M, N, horizon, H, W, 1), on the scale.
        scale: Has `forward` and `inverse`, to the model's scale and back.
        pixels: The blocks.

    Attributes:
        size: Members of a forecast.
        told: Facts that a call may tell.
    """

    compiles = False
    told = ("minutes",)

    def __init__(self, model: Any, scale: Any, pixels: CoarsePixels):
        super().__init__()
        self.model, self.pixels = model, pixels
        self._scale = scale

    @property
    def size(self) -> int:
        return int(self.model.size)

    @size.setter
    def size(self, members: int) -> None:
        self.model.size = members

    def __call__(self, inputs: mx.array, horizon: int, *, minutes: mx.array | None = None) -> mx.array:
        """Returns the members' forecasts, (N, T_in, H, W, 1) -> (M, N, horizon, H, W, 1).

        Args:
            inputs: Frames on the model's scale.
            horizon: Number of frames to forecast.
            minutes: Minutes from frame to frame, (N,) or a number. Default: those of the model.
        """
        means = self.pixels.averaged(self._scale.inverse(np.array(inputs)))
        h, w = means.shape[2:4]
        step = int(getattr(self.model, "patch_size", 1))
        rest = [(0, 0), (0, 0), (0, -h % step), (0, -w % step), (0, 0)]
        y = np.pad(self._scale.forward(means), rest, mode="edge")
        members = self.model(mx.array(y), horizon, **({} if minutes is None else {"minutes": minutes}))
        size = (inputs.shape[2], inputs.shape[3])
        frames = [
            self._scale.forward(self.pixels.restored(self._scale.inverse(np.array(one[:, :, :h, :w])), size))
            for one in members
        ]
        return mx.array(np.stack(frames))

    def mean(self, inputs: mx.array, horizon: int, **facts: Any) -> mx.array:
        """Returns the mean of the members, on the model's scale, (N, horizon, H, W, 1)."""
        return self(inputs, horizon, **facts).mean(axis=0)


def sides_of(data: Any) -> tuple[float, float] | None:
    """Returns height and width of the pixels of data in km, by `sides_km` or `pixel_km`; None if they are unknown."""
    side = getattr(data, "pixel_km", None)
    sides: tuple[float, float] | None = getattr(data, "sides_km", None)
    return sides if sides is not None or side is None else (side, side)


def _closest(ratio: float) -> int:
    """Returns the whole number of at least 1 that is closest to a ratio, by the ratio of the two."""
    below = max(math.floor(ratio), 1)
    return below if ratio / below <= (below + 1) / ratio else below + 1


def _both(method: Callable[[_Side, np.ndarray, int], np.ndarray], sides: list[_Side], fields: np.ndarray) -> np.ndarray:
    """Returns the result of a method of `_Side` for both sides, one after the other."""
    return method(sides[1], method(sides[0], fields, -2), -1)
