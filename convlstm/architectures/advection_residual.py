"""A forecaster of rain that corrects an extrapolation: ConvLSTM layers learn what advection cannot predict."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from convlstm.architectures.extrapolation import advect
from convlstm.architectures.input_frames import (
    check_channels,
    check_frames,
    check_grid_kept,
    check_layer_options,
    depth_to_space,
    space_to_depth,
)
from convlstm.architectures.motion import motion
from convlstm.arguments import check_flags, check_number, check_whole
from convlstm.layers import ConvLSTM
from convlstm.ops.circular import go_round

import mlx.core as mx
import mlx.nn as nn


class AdvectionResidual(nn.Module):
    """An extrapolation of the last frame along the motion of the inputs, plus a correction by ConvLSTM layers.

        flow = motion(X_1 .. X_in)
        E_1 .. E_T = advect(X_in, flow)
        h_1 .. h_in+T = ConvLSTM layers(X_1 .. X_in, E_1 .. E_T)
        Y_t = match(E_t + smooth(W * h_in+t), E_t)

    The layers walk once over the input frames and the extrapolated frames. A channel of each frame holds its lead time,
    so the layers have to learn only growth, decay, and the loss of details that cannot be forecast. The correction
    starts at zero: an untrained model is the extrapolation. It is averaged over windows as wide as a patch, so that the
    patches do not show. No gradient flows through the motion.

    A forecast with a small error is smooth, and its heavy rain is too weak. Outside training it gets back the
    distribution of the extrapolation (`match`): the wettest pixel of a frame gets the value of the extrapolation's
    wettest pixel, and so on. With lead time each value covers a larger area, and rare values grow most: if the position
    of heavy rain is uncertain, a larger area is more likely to hit it.

    Args:
        in_channels: Channels of the frames. Default: 1.
        hidden_channels: Channels of the ConvLSTM layers. Default: (64, 64).
        kernel_size: Kernel of the layers, odd. Default: 3.
        patch_size: Side of the square patches that become channels before the first layer. Default: 4.
        lead_scale: Lead time, in frames, whose value is 1 in the channel of lead times. Default: 10.
        points: Cells along the shorter side of the grid of the motion. Default: 32, coarser and faster than the 128 of
            `Extrapolation`, since every training step computes the motion.
        matches: If True, forecasts get the extrapolation's distribution outside training. Default: True.
        spread: Growth of the areas of rain with lead time if `matches`: added to the exponent of `match` per
            `lead_scale` frames. Default: 0.15.
        padding: None, zeros around the frames of the layers and the extrapolation's values at the border, or 'circular'
            for frames whose columns go round the earth, in all parts. Default: None.
        **layer: The other arguments of the ConvLSTM layers.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Seed, A Dynamic and Spatial Scaling Approach to Advection Forecasting, 2003, for the decay of an
    extrapolation; Ebert, Ability of a Poor Man's Ensemble to Predict the Probability and Distribution of Precipitation,
    2001, for the matching.
    """

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: Sequence[int] = (64, 64),
        *,
        kernel_size: int = 3,
        patch_size: int = 4,
        lead_scale: float = 10.0,
        points: int = 32,
        matches: bool = True,
        spread: float = 0.15,
        padding: str | None = None,
        **layer,
    ):
        super().__init__()
        if not hidden_channels:
            raise ValueError("[AdvectionResidual] 'hidden_channels' must name at least one layer but got none.")
        check_channels("AdvectionResidual", in_channels, hidden_channels, patch_size)
        check_number("AdvectionResidual", "lead_scale", lead_scale, above=0)
        check_whole("AdvectionResidual", "points", points)
        check_flags("AdvectionResidual", matches=matches)
        check_number("AdvectionResidual", "spread", spread, 0)
        check_layer_options("AdvectionResidual", layer, patch_size)
        self.in_channels, self.patch_size = in_channels, patch_size
        self.lead_scale, self.points, self.matches, self.spread = lead_scale, points, matches, spread
        self.circular = padding == "circular"
        layer |= {} if padding is None else {"padding": padding}
        channels = in_channels * patch_size**2
        sizes = [channels + 1, *hidden_channels]
        self.layers = [ConvLSTM(C, O, kernel_size, **layer) for C, O in pairwise(sizes)]
        self.output = nn.Conv2d(sizes[-1], channels, 1)
        self.output.weight = mx.zeros_like(self.output.weight)
        self.output.bias = mx.zeros_like(self.output.bias)

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the frames' channels or size, or the horizon, do not fit the model."""
        grid = check_frames("AdvectionResidual", inputs, horizon, self.in_channels, self.patch_size)
        check_grid_kept("AdvectionResidual", self.layers, grid, "its frames are those of the extrapolation")

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns a forecast of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, C).
            horizon: Number of frames to forecast.
            key: Key of the dropout masks in training; None draws from MLX's global state.

        Returns:
            (N, horizon, H, W, C).
        """
        self.check_input(inputs, horizon)
        advected = self.advance(inputs, horizon)
        return self.finish(advected + self.correction(inputs, advected, key=key), advected)

    def advance(self, inputs: mx.array, horizon: int) -> mx.array:
        """Returns E_1 .. E_T, (N, horizon, H, W, C). They depend on the whole frame, since the motion does."""
        flow = motion(inputs, points=self.points, circular=self.circular)
        border = "circular" if self.circular else "edge"
        return mx.stop_gradient(advect(inputs[:, -1], flow, horizon, border=border))

    def correction(self, inputs: mx.array, advected: mx.array, *, key: mx.array | None = None) -> mx.array:
        """Returns the correction of E_1 .. E_T, of the same shape. It is local, so it can be computed in tiles."""
        horizon = advected.shape[1]
        x = space_to_depth(mx.concatenate([inputs, advected], axis=1), self.patch_size)
        lead = mx.maximum(mx.arange(1 - inputs.shape[1], horizon + 1), 0).astype(x.dtype) / self.lead_scale
        x = mx.concatenate([x, mx.broadcast_to(lead.reshape(1, -1, 1, 1, 1), (*x.shape[:-1], 1))], axis=-1)
        keys = [None] * len(self.layers) if key is None else list(mx.random.split(key, len(self.layers)))
        for layer, k in zip(self.layers, keys, strict=True):
            x, _ = layer(x, key=k)
        correction = x[:, -horizon:] @ self.output.weight[:, 0, 0].T + self.output.bias
        return smooth(depth_to_space(correction, self.patch_size), self.patch_size, circular=self.circular)

    def finish(self, forecast: mx.array, advected: mx.array) -> mx.array:
        """Returns the forecast. With `matches` and outside training it gets the distribution of E_1 .. E_T."""
        if not self.matches or self.training:
            return forecast
        ahead = mx.arange(1, forecast.shape[1] + 1) / self.lead_scale
        return match(forecast, advected, 1 + self.spread * ahead)


def match(forecast: mx.array, reference: mx.array, exponent: mx.array | None = None) -> mx.array:
    """Returns the values of a reference in the order of a forecast, frame by frame and channel by channel.

    A pixel that is exceeded by a share a of the forecast's frame gets the value that is exceeded by a share a^exponent
    of the reference's frame. With an exponent above 1, an area A in the reference becomes A^(1 / exponent), which is
    larger.

    Args:
        forecast: (N, T, H, W, C).
        reference: Array of the same shape.
        exponent: (T,), above 0. Default: 1, which uses each value of the reference once.

    Returns:
        (N, T, H, W, C).
    """
    N, T, H, W, C = forecast.shape
    size = H * W
    order, values = (a.reshape(N, T, size, C) for a in (forecast, reference))
    ranks = mx.argsort(mx.argsort(-order, axis=2), axis=2)
    if exponent is not None:
        share = ((mx.arange(size) + 0.5) / size) ** exponent.reshape(T, 1)
        taken = mx.clip((share * size).astype(mx.uint32), 0, size - 1)
        ranks = mx.take_along_axis(mx.broadcast_to(taken.reshape(1, T, size, 1), ranks.shape), ranks, axis=2)
    return mx.take_along_axis(-mx.sort(-values, axis=2), ranks, axis=2).reshape(forecast.shape)


def smooth(frames: mx.array, width: int, *, circular: bool = False) -> mx.array:
    """Returns averages over windows as wide as a patch, which removes patterns that repeat from patch to patch.

        y_i = (x_{i - width/2} / 2 + x_{i - width/2 + 1} + ... + x_{i + width/2 - 1} + x_{i + width/2} / 2) / width

    along both axes of a frame; an odd width has whole pixels at its ends. The border's pixels are repeated beyond it.

    Args:
        frames: (N, T, H, W, C).
        width: Width of the window, in pixels; 1 changes nothing.
        circular: If True, the columns go round. Default: False.

    Returns:
        (N, T, H, W, C).
    """
    reach = width // 2
    weights = [1 / width] * (2 * reach + 1)
    if width % 2 == 0:
        weights[0] = weights[-1] = 0.5 / width
    for axis in (2, 3):
        length = frames.shape[axis]
        if circular and axis == 3:
            padded = go_round(frames, reach, reach, axis)
        else:
            padded = mx.pad(frames, [(reach, reach) if n == axis else (0, 0) for n in range(5)], mode="edge")
        shifted = [padded[(*[slice(None)] * axis, slice(n, n + length))] for n in range(len(weights))]
        frames = sum((w * x for w, x in zip(weights[1:], shifted[1:], strict=True)), weights[0] * shifted[0])
    return frames
