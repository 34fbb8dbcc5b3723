"""S-PROG: rain moved along its motion, with small scales that fade sooner than large ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convlstm.architectures.cascade import cascade, continued
from convlstm.architectures.extrapolation import check_border
from convlstm.architectures.input_frames import check_frames
from convlstm.architectures.motion import check_motion, motion
from convlstm.architectures.rain_decibels import REFLECTIVITY, RainDecibels
from convlstm.arguments import check_number, check_whole
from convlstm.ops.distribution import matched, ranks, rising
from convlstm.ops.sampling import drift, starts

import mlx.core as mx
import mlx.nn as nn
import numpy as np

MATCHING = ("cdf", "mean", "none")

FRAMES = 3
"""Frames from which the processes of the bands are estimated."""


class SPROG(nn.Module):
    r"""The forecast of S-PROG, a smooth one with a small error: details fade once they cannot be forecast.

    In decibels of the rain rate and in coordinates that move with the rain, the last frame is a sum of bands of scales.
    Each band continues as an autoregressive process of order 2 without noise (`cascade`):

        x_{k,t} = phi1_k x_{k,t-1} + phi2_k x_{k,t-2},   z_t = sum_k mean_k + deviation_k x_{k,t}

    The wettest pixels of z_t, as many as the last frame had, are rain; the others have none. Their values get the
    distribution or the mean of the last frame's rain. Then the field moves along the motion by `drift`.

    Rain rates are relative to the model's scale, which must be logarithmic, as those of `Reflectivity` and `LogRain`
    are. It has nothing to learn. A pixel that is NaN in one of the last three frames is missing, and so are the pixels
    to which it moves.

    Args:
        levels: Number of bands, at least 3. Default: 6.
        threshold: Lowest rain rate that counts as rain, in mm/h. Default: 0.1.
        matching: 'cdf', the last frame's distribution; 'mean', its mean in decibels; or 'none'. Default: 'cdf'.
        dry_share: Share of pixels with rain up to which there is none in the forecast. Default: 0.
        rates: Rain rates in mm/h of 0 and 1 on the model's scale. Default: those of `Reflectivity` with its defaults,
            unless `adopt` takes those of the data.
        frames: Number of last input frames that show the motion. Default: 5.
        points, window, iterations: As in `motion`. Default: 128, 2, 3.
        border: Values that enter over the border: 'edge', 'zero' or 'circular', as in `advect`. Default: 'edge'.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Seed, A Dynamic and Spatial Scaling Approach to Advection Forecasting, 2003; Pulkkinen et al., Pysteps: an
    Open-Source Python Library for Probabilistic Precipitation Nowcasting (v1.0), 2019.
    """

    def __init__(
        self,
        levels: int = 6,
        threshold: float = 0.1,
        *,
        matching: str = "cdf",
        dry_share: float = 0.0,
        rates: Sequence[float] | None = None,
        frames: int = 5,
        points: int = 128,
        window: float = 2.0,
        iterations: int = 3,
        border: str = "edge",
    ):
        super().__init__()
        owner = type(self).__name__
        check_whole(owner, "levels", levels, 3, 32)
        check_motion(owner, frames, points, window, iterations)
        check_border(owner, border)
        if matching not in MATCHING:
            raise ValueError(f"[{owner}] 'matching' must be one of {', '.join(MATCHING)} but got {matching!r}.")
        self.levels, self.matching = levels, matching
        self.border, self.circular = border, border == "circular"
        self.frames, self.points, self.window, self.iterations = frames, points, window, iterations
        self.threshold, self.dry_share = threshold, check_number(owner, "dry_share", dry_share, 0, 1)
        self._given: dict[str, Any] = {"rates": rates}
        self._take(rates=REFLECTIVITY if rates is None else rates)

    def adopt(self, **facts: Any) -> None:
        """Takes facts about the data, by the names of the arguments, for those arguments that were not given.

        Raises:
            ValueError: An argument was given and differs, or neither the data nor an argument says a fact.
        """
        owner = type(self).__name__
        for name, value in facts.items():
            given = self._given[name]
            if value is None and given is None:
                raise ValueError(f"[{owner}] needs '{name}', which the data do not say. Give it: model.{name}=NUMBER.")
            if value is None:
                continue
            if given is not None and not np.allclose(given, value, rtol=1e-3):
                key = f"{value:.6g}" if name != "rates" else f"[{value[0]:.6g},{value[1]:.6g}]"
                raise ValueError(
                    f"[{owner}] '{name}' must be that of the data, {key}, but got {given}: model.{name}={key}."
                )
            if given is None:
                self._take(**{name: value})

    def _take(self, *, rates: Sequence[float]) -> None:
        self._scale = RainDecibels(type(self).__name__, rates, self.threshold)
        self.rates = list(rates)

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the inputs are not NTHW1 with at least three frames, or if the horizon is below 1."""
        owner = type(self).__name__
        check_frames(owner, inputs, horizon, 1, 1)
        if inputs.shape[1] < FRAMES:
            raise ValueError(
                f"[{owner}] at least {FRAMES} input frames are needed to see how rain changes but got "
                f"{inputs.shape[1]}: data.input_frames={FRAMES}."
            )

    def flow(self, inputs: mx.array) -> mx.array:
        """Returns the motion of the inputs, (N, H, W, 2)."""
        options = {"frames": self.frames, "points": self.points, "iterations": self.iterations}
        return motion(inputs, window=self.window, circular=self.circular, **options)

    def lagrangian(self, inputs: mx.array, flow: mx.array) -> mx.array:
        """Returns the last three frames in decibels, moved to where the last one is, (N, 3, H, W)."""
        z = self._scale.forward(inputs[:, -FRAMES:])[..., 0]
        N, _, H, W = z.shape
        still, places, moved = mx.zeros((N, 2)), starts(N, H, W), [z[:, -1]]
        for steps in range(1, FRAMES):
            # Nothing is known of what enters over the border: as in pysteps it counts as no rain.
            frame, places = drift(z[:, -1 - steps], places, flow, still, margin=0.0, circular=self.circular)
            moved.insert(0, frame)
        return mx.stack(moved, axis=1)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns a forecast of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, 1) with T_in of at least 3.
            horizon: Number of frames to forecast.
            key: Not used.

        Returns:
            (N, horizon, H, W, 1).
        """
        self.check_input(inputs, horizon)
        N, _, H, W, _ = inputs.shape
        flow = self.flow(inputs)
        frames = self.lagrangian(inputs, flow)
        rain = self._scale.forward(inputs[:, -FRAMES:]) > self._scale.threshold + 1e-4
        dry = rain.mean(axis=(1, 2, 3, 4)) <= self.dry_share
        frames = mx.where(dry.reshape(N, 1, 1, 1), 0, frames)
        z = self.matched(continued(cascade(frames, self.levels), horizon), frames[:, -1])
        z = mx.where(missing(inputs)[:, None], mx.nan, z)
        still, places, moved = mx.zeros((N, 2)), starts(N, H, W), []
        for lead in range(horizon):
            frame, places = drift(z[:, lead], places, flow, still, **self._drifting())
            moved.append(frame)
        return mx.stack(moved, axis=1)[..., None].astype(inputs.dtype)

    def matched(self, forecast: mx.array, last: mx.array) -> mx.array:
        """Returns forecasts (N, T, H, W) with as much rain as the last frame (N, H, W), and 0 elsewhere."""
        N, T, H, W = forecast.shape
        if self.matching == "cdf":
            values, everywhere = rising(last.reshape(N, H * W)), mx.ones((1, H * W))
            parts = zip(forecast.reshape(N, T, H * W), values, strict=True)
            return mx.stack([matched(part, everywhere, v) for part, v in parts]).reshape(forecast.shape)
        share = (last >= self._scale.threshold - 1e-4).mean(axis=(1, 2)).reshape(N, 1, 1, 1)
        rain = ranks(forecast.reshape(N * T, H * W)).reshape(forecast.shape) >= 1 - share
        return mx.where(rain, self._shifted(forecast, rain, last[:, None]), 0)

    def _shifted(self, forecast: mx.array, rain: mx.array, last: mx.array) -> mx.array:
        """Returns forecasts (..., H, W) whose mean where they have rain is that of the last frame's rain, if asked."""
        if self.matching != "mean":
            return forecast
        change = _mean(last, last >= self._scale.threshold - 1e-4) - _mean(forecast, rain)
        return mx.where(rain, forecast + change, forecast)

    def _drifting(self) -> dict[str, Any]:
        """Returns the options of `drift` for forecasts, which come on the model's scale."""
        scale = (self._scale.lowest, self._scale.width, self._scale.threshold - 1e-4)
        return {"margin": 0.5 if self.border == "zero" else None, "circular": self.circular, "scale": scale}


def missing(inputs: mx.array) -> mx.array:
    """Returns True for each pixel that is not finite in one of the last three frames (N, T, H, W, 1), as (N, H, W)."""
    return ~mx.isfinite(inputs[:, -FRAMES:, ..., 0]).all(axis=1)


def _mean(values: mx.array, where: mx.array) -> mx.array:
    """Returns the mean of (..., H, W) where it is asked for, (..., 1, 1); 0 if that is nowhere."""
    count = where.sum(axis=(-2, -1), keepdims=True)
    return mx.where(where, values, 0).sum(axis=(-2, -1), keepdims=True) / mx.maximum(count, 1)
