"""Frames brought to grey or colour, and to a size."""

from __future__ import annotations

import numpy as np

FITS = ("crop", "stretch", "cut")
"""Ways to bring frames to a size, see `fitted`."""

# Weights of red, green and blue in grey (ITU-R BT.601).
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def coloured(frames: np.ndarray, channels: int) -> np.ndarray:
    """Returns frames (T, H, W, 1 or 3) with 1 channel, grey, or 3, red, green and blue, in their own type."""
    given = frames.shape[-1]
    if given == channels:
        return frames
    if channels == 3:
        return np.repeat(frames, 3, axis=-1)
    grey = (frames.astype(np.float32) @ _GREY)[..., None]
    return np.rint(grey).astype(np.uint8) if frames.dtype == np.uint8 else grey


def box_of(shape: tuple[int, int], size: tuple[int, int], fit: str) -> tuple[float, float, float, float]:
    """Returns left, top, right and bottom of the part of a frame that becomes the whole of a frame of `size`.

    Args:
        shape: Height and width of the frame.
        size: Height and width that are wanted.
        fit: One of `FITS`.
    """
    (height, width), (high, wide) = shape, size
    if fit == "cut":
        top, left = (height - high) // 2, (width - wide) // 2
        return left, top, left + wide, top + high
    if fit == "crop":
        scale = min(height / high, width / wide)
        part = (high * scale, wide * scale)
        top_edge, left_edge = (height - part[0]) / 2, (width - part[1]) / 2
        return left_edge, top_edge, left_edge + part[1], top_edge + part[0]
    return 0, 0, width, height


def fitted(frames: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
    """Returns frames (T, H, W, C), uint8 or float32, at another size.

    A smaller pixel is the mean of the area that it covers, a larger one is interpolated.

    Args:
        frames: The frames.
        size: Height and width that are wanted.
        fit: `"crop"`: the largest part in the middle that has the shape of `size`, resized, so that nothing is
            distorted. `"stretch"`: the whole frame, resized in both directions. `"cut"`: the middle, not resized.

    Raises:
        ValueError: If `fit` is `"cut"` and the frames are smaller than `size`.
    """
    shape = frames.shape[1:3]
    box = box_of(shape, size, fit)
    if fit == "cut":
        if min(box) < 0:
            raise ValueError(f"frames of {shape[0]}x{shape[1]} cannot be cut to {size[0]}x{size[1]}")
        left, top, right, bottom = map(int, box)
        return frames[:, top:bottom, left:right]
    if shape == size:
        return frames
    from PIL import Image

    smaller = box[2] - box[0] >= size[1] and box[3] - box[1] >= size[0]
    how = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    result = np.empty((len(frames), *size, frames.shape[-1]), frames.dtype)
    for frame, made in zip(frames, result, strict=True):
        for channel in range(frames.shape[-1]):
            plane = Image.fromarray(np.ascontiguousarray(frame[..., channel]))
            made[..., channel] = np.asarray(plane.resize((size[1], size[0]), how, box))
    return result
