"""The forecasts that any other must beat: nothing changes, and nothing is there. Neither has anything to learn."""

from __future__ import annotations

from convlstm.architectures.frames import check_frames

import mlx.core as mx
import mlx.nn as nn


class Persistence(nn.Module):
    """The forecast that nothing changes: the last frame, again and again.

    Raises:
        ValueError: The inputs are not NTHWC, or the horizon is below 1.
    """

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError where the inputs are not NTHWC, or the horizon is below 1."""
        check_frames("Persistence", inputs, horizon, inputs.shape[-1], 1)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """(N, T_in, H, W, C) -> (N, horizon, H, W, C); `key` is not used."""
        self.check_input(inputs, horizon)
        N, _, H, W, C = inputs.shape
        return mx.broadcast_to(inputs[:, -1:], (N, horizon, H, W, C))


class Zeros(nn.Module):
    """The empty forecast.

    Raises:
        ValueError: The inputs are not NTHWC, or the horizon is below 1.
    """

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError where the inputs are not NTHWC, or the horizon is below 1."""
        check_frames("Zeros", inputs, horizon, inputs.shape[-1], 1)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """(N, T_in, H, W, C) -> (N, horizon, H, W, C); `key` is not used."""
        self.check_input(inputs, horizon)
        N, _, H, W, C = inputs.shape
        return mx.zeros((N, horizon, H, W, C), inputs.dtype)
