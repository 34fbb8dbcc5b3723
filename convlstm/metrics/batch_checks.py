"""Checks of the arrays of a batch that a metric is updated with."""

from __future__ import annotations

import numpy as np


def real_numbers(owner: str, name: str, value: np.ndarray, letters: str) -> np.ndarray:
    """Returns a value as an array; half precision, which overflows at 65504, becomes single precision.

    Args:
        owner: Class that has the argument, for the message.
        name: Name of the argument.
        value: Its value.
        letters: The shape by letter, such as "(N, T, H, W, 1)"; a 1 is the size itself.

    Raises:
        TypeError: The array does not hold real numbers.
        ValueError: The array has another shape, or an axis of length 0.
    """
    array = np.asarray(value)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise TypeError(f"[{owner}] '{name}' must hold real numbers but got {array.dtype}.")
    axes = letters.strip("()").split(", ")
    if array.ndim != len(axes) or 0 in array.shape or (axes[-1] == "1" and array.shape[-1] != 1):
        raise ValueError(f"[{owner}] '{name}' must have the shape {letters}, no side 0, but got {array.shape}.")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def known_pixels(owner: str, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a mask as booleans of the target's shape, or raises ValueError if it does not broadcast to it."""
    mask = np.asarray(mask)
    try:
        return np.broadcast_to(mask != 0, shape)
    except ValueError:
        raise ValueError(
            f"[{owner}] 'mask' must have the shape of 'target' or broadcast to it but got {mask.shape} and {shape}."
        ) from None


def check_same_shape(owner: str, forecast: np.ndarray, target: np.ndarray) -> None:
    """Raises ValueError if the forecast and the target differ in shape."""
    if forecast.shape != target.shape:
        raise ValueError(
            f"[{owner}] 'forecast' and 'target' must have the same shape but got {forecast.shape} and {target.shape}."
        )


def check_horizon(owner: str, horizon: int, former: int | None) -> None:
    """Raises ValueError if a batch has another number of lead times than the earlier ones."""
    if former not in (None, horizon):
        raise ValueError(
            f"[{owner}] every batch must have the same number of lead times but got {horizon} after {former}."
        )
