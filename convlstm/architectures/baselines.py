"""Baselines: forecasts that learn nothing and that every model must beat, with the table of their names.

To add a baseline, write its class here and enter it in `BASELINES`: `python evaluate.py 'baselines=[NAME]'`.
"""

from __future__ import annotations

from collections.abc import Sequence

from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.input_frames import check_frames
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS

import mlx.core as mx
import mlx.nn as nn


class Persistence(nn.Module):
    """The forecast that repeats the last frame.

    Raises:
        ValueError: The inputs are not NTHWC, or the horizon is below 1.
    """

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the inputs are not NTHWC, or if the horizon is below 1."""
        check_frames("Persistence", inputs, horizon, None, 1)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns the forecast: (N, T_in, H, W, C) -> (N, horizon, H, W, C). `key` is not used."""
        self.check_input(inputs, horizon)
        N, _, H, W, C = inputs.shape
        return mx.broadcast_to(inputs[:, -1:], (N, horizon, H, W, C))


class Zeros(nn.Module):
    """The forecast that is 0 everywhere.

    Raises:
        ValueError: The inputs are not NTHWC, or the horizon is below 1.
    """

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the inputs are not NTHWC, or if the horizon is below 1."""
        check_frames("Zeros", inputs, horizon, None, 1)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns the forecast: (N, T_in, H, W, C) -> (N, horizon, H, W, C). `key` is not used."""
        self.check_input(inputs, horizon)
        N, _, H, W, C = inputs.shape
        return mx.zeros((N, horizon, H, W, C), inputs.dtype)


class Climatology(nn.Module):
    """The climatology, of data whose frames are departures from it: 0.5, no departure, everywhere.

    Raises:
        ValueError: The inputs are not NTHWC, or the horizon is below 1.
    """

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the inputs are not NTHWC, or if the horizon is below 1."""
        check_frames("Climatology", inputs, horizon, None, 1)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns the forecast: (N, T_in, H, W, C) -> (N, horizon, H, W, C). `key` is not used."""
        self.check_input(inputs, horizon)
        N, _, H, W, C = inputs.shape
        return mx.full((N, horizon, H, W, C), 0.5, inputs.dtype)


class SomeChannels(nn.Module):
    """A baseline that sees some of the input channels, since it forecasts the channels that it sees.

    Args:
        baseline: The baseline.
        channels: Numbers of the channels.
    """

    def __init__(self, baseline: nn.Module, channels: Sequence[int]):
        super().__init__()
        self.baseline, self.channels = baseline, list(channels)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns the forecast: (N, T_in, H, W, C) -> (N, horizon, H, W, channels)."""
        return self.baseline(inputs[..., mx.array(self.channels)], horizon, key=key)


BASELINES: dict[str, type[nn.Module]] = {
    "climatology": Climatology,
    "extrapolation": Extrapolation,
    "persistence": Persistence,
    "sprog": SPROG,
    "steps": STEPS,
    "zeros": Zeros,
}
"""Baselines by their names in an evaluation's `baselines`. Each is made without arguments; `SPROG` and `STEPS` get what
they need to know of the data."""
