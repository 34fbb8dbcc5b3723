"""Input frames of models: their checks, their division into patches, and their conversion to values in [0, 1]."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from convlstm.arguments import MOST, check_whole, check_wholes
from convlstm.layers import ConvLSTM
from convlstm.ops.cell import check_array
from convlstm.ops.convolution import Pair

import mlx.core as mx
import numpy as np


def space_to_depth(x: mx.array, size: int) -> mx.array:
    """Returns patches of `size` x `size` pixels as channels: (..., H, W, C) -> (..., H/size, W/size, size*size*C).

    Channel c of pixel (row, column) of a patch becomes channel (row * size + column) * C + c.
    """
    *lead, H, W, C = x.shape
    x = x.reshape(*lead, H // size, size, W // size, size, C)
    return x.swapaxes(-4, -3).reshape(*lead, H // size, W // size, size * size * C)


def depth_to_space(x: mx.array, size: int) -> mx.array:
    """Returns the inverse of `space_to_depth`: (..., H, W, size*size*C) -> (..., H*size, W*size, C)."""
    *lead, H, W, channels = x.shape
    C = channels // size**2
    x = x.reshape(*lead, H, W, size, size, C)
    return x.swapaxes(-4, -3).reshape(*lead, H * size, W * size, C)


def check_frames(owner: str, inputs: mx.array, horizon: int, channels: int | None, patch_size: int) -> Pair:
    """Returns height and width of the inputs (N, T, H, W, C) in patches; raises ValueError if they do not fit.

    Any number of channels fits if `channels` is None. Raises TypeError if they are no array of MLX.
    """
    check_array(owner, inputs)
    if inputs.ndim != 5 or channels not in (None, inputs.shape[-1]):
        wanted = "" if channels is None else f" with C={channels} channels"
        raise ValueError(f"[{owner}] expected inputs of shape NTHWC{wanted} but got shape {tuple(inputs.shape)}.")
    if 0 in inputs.shape:
        raise ValueError(f"[{owner}] expected inputs of shape NTHWC, no side 0, but got {tuple(inputs.shape)}.")
    if horizon < 1:
        raise ValueError(f"[{owner}] 'horizon' must be at least 1 but got {horizon}.")
    H, W = inputs.shape[2:4]
    if H % patch_size or W % patch_size:
        raise ValueError(
            f"[{owner}] frames of {H}x{W} cannot be cut into patches of {patch_size}x{patch_size}: height and width "
            f"must be multiples of 'patch_size'. Pad or crop the frames, or choose another 'patch_size'."
        )
    return H // patch_size, W // patch_size


def check_channels(owner: str, in_channels: int, hidden_channels: Sequence[int], patch_size: int) -> None:
    """Raises ValueError if a number of channels is not valid, or if a patch would have too many channels."""
    check_whole(owner, "in_channels", in_channels)
    check_wholes(owner, "hidden_channels", hidden_channels)
    check_whole(owner, "patch_size", patch_size, most=256)
    if in_channels * patch_size**2 > MOST:
        raise ValueError(
            f"[{owner}] a patch has 'in_channels' times the square of 'patch_size' channels, at most {MOST:,}, but got "
            f"{in_channels:,} and {patch_size}."
        )


def check_layer_options(owner: str, options: Collection[str], patch_size: int) -> None:
    """Raises ValueError if a ConvLSTM layer's option does not suit a forecaster, or if the patch size is not valid."""
    check_whole(owner, "patch_size", patch_size, most=256)
    for name in ("bidirectional", "merge", "reverse", "return_sequences"):
        if name in options:
            raise ValueError(f"[{owner}] '{name}' is not for a forecaster's layers: leave it out.")


def check_grid_kept(owner: str, layers: Sequence[ConvLSTM], grid: Pair, why: str) -> None:
    """Raises ValueError if a layer changes the grid; `why` says in the message why it must not."""
    for n, layer in enumerate(layers):
        after = layer.cell.output_size(*grid)
        if after != grid:
            raise ValueError(
                f"[{owner}] layer {n} turns {grid[0]}x{grid[1]} into {after[0]}x{after[1]}, but {why}, so every layer "
                "must keep the grid: leave 'stride' and 'padding' at 1 and 'same'."
            )


def as_unit(x: mx.array | np.ndarray) -> mx.array:
    """Returns frames as float32 in [0, 1]: 8-bit values are divided by 255, floats only change their type.

    Args:
        x: An array of any shape.

    Returns:
        A float32 array of the same shape.

    Raises:
        TypeError: The array holds integers other than unsigned 8-bit ones: their full scale is unknown.
    """
    x = mx.array(x) if isinstance(x, np.ndarray) else x
    if x.dtype == mx.uint8:
        return x.astype(mx.float32) / 255
    if not mx.issubdtype(x.dtype, mx.floating):
        raise TypeError(f"[as_unit] 'x' must hold uint8 or floats but got {x.dtype}: scale it to [0, 1] first.")
    return x.astype(mx.float32)
