"""Rain on the model's logarithmic scale as decibels above the value of no rain, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from convlstm.arguments import check_number, check_numbers

import mlx.core as mx
import numpy as np

DRY = -15.0
"""dBR of pixels without rain, as in pysteps: 5 dB below the usual threshold of 0.1 mm/h."""

REFLECTIVITY = (0.01682826752826455, 516.6767210708891)
"""Rain rates in mm/h of 0 and 1 on the scale of `convlstm.datasets.transforms.Reflectivity` with its defaults."""


class RainDecibels:
    """The map between the model's scale and decibels of the rain rate.

    The scales of `Reflectivity` and `LogRain` are already logarithms of the rain rate R:

        dBR = 10 log10 R = 10 log10 low + y 10 log10(high / low)

    Pixels below the threshold have no rain and count as -15 dBR. Values here are decibels above that: z = dBR + 15, and
    0 without rain. On the way back, what lies below the threshold becomes 0.

    Args:
        owner: Class that has the arguments, for messages.
        rates: Rain rates in mm/h of y = 0 and y = 1.
        threshold: Lowest rain rate that is rain, in mm/h, above -15 dBR.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(self, owner: str, rates: Sequence[float], threshold: float):
        given = check_numbers(owner, "rates", rates)
        if len(given) != 2 or not 0 < given[0] < given[1]:
            raise ValueError(f"[{owner}] 'rates' must be two rain rates, 0 < low < high, but got {list(rates)}.")
        check_number(owner, "threshold", threshold, above=10 ** (DRY / 10), below=given[1])
        self.lowest = 10 * math.log10(given[0]) - DRY
        self.width = 10 * math.log10(given[1] / given[0])
        self.threshold = 10 * math.log10(threshold) - DRY

    def forward(self, y: mx.array) -> mx.array:
        """Returns z for values in [0, 1]; values that are not finite are without rain."""
        z = self.lowest + self.width * mx.clip(y.astype(mx.float32), 0, 1)
        return mx.where(mx.isfinite(y) & (y > 0) & (z >= self.threshold - 1e-4), z, 0)

    def inverse(self, z: mx.array) -> mx.array:
        """Returns values in [0, 1] for z."""
        y = mx.clip((z - self.lowest) / self.width, 0, 1)
        return mx.where(z >= self.threshold - 1e-4, y, mx.where(mx.isnan(z), z, 0))


def rates_of(owner: str, transform: Any) -> tuple[float, float]:
    """Returns the rain rates of 0 and 1 on a transform's scale, for the argument `rates`.

    Args:
        owner: The model that needs them, for the message.
        transform: A transform of `convlstm.datasets.transforms`, or any other with `units` and `inverse`.

    Raises:
        ValueError: The scale is not the logarithm of a rain rate.
    """
    quarter, half, high = (float(x) for x in transform.inverse(np.array([0.25, 0.5, 1], np.float32)))
    low = half * half / high if high > 0 else 0.0
    if transform.units != "mm/h" or not 0 < low < high or abs(quarter / math.sqrt(low * half) - 1) > 1e-3:
        raise ValueError(
            f"[{owner}] the model's scale must be the logarithm of a rain rate in mm/h, such as Reflectivity or "
            f"LogRain, but the transform is {type(transform).__name__} in {transform.units}."
        )
    return low, high
