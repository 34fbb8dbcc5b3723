"""A network that reads a sequence once and gives maps of parameters for any lead times, in minutes."""

from __future__ import annotations

from collections.abc import Sequence

from convlstm.layers import ConvLSTM
from convlstm.ops.activations import relu
from convlstm.ops.convolution import conv2d

import mlx.core as mx
import mlx.nn as nn

COARSER = 3
"""Coarser grids on which a network looks around."""

LEAD_FEATURES = 6
"""Functions of the lead time, the step and the pixel size that a network gets."""


class ParameterMaps(nn.Module):
    """ConvLSTM layers over the frames, a look around on coarser grids, and a head for each lead time.

        h = ConvLSTM layers(x_1 .. x_in), the last hidden state
        f = h + sum_k up^k(relu(conv(pool^k(h))))
        z = relu((1 + a(t)) conv(f) + b(t))
        y_t = W relu(conv(z))

    a and b are functions of the lead time, of the step and of the pixel size, from a small dense network. Lead times do
    not depend on each other, so any of them can be had, in any number. W starts at zero.

    Args:
        in_channels: Channels of the frames.
        hidden_channels: Channels of the ConvLSTM layers.
        out_channels: Channels of the maps.
        kernel_size: Kernel of the layers, odd. Default: 3.
    """

    def __init__(self, in_channels: int, hidden_channels: Sequence[int], out_channels: int, *, kernel_size: int = 3):
        super().__init__()
        layers = []
        for C in hidden_channels:
            layers.append(ConvLSTM(in_channels, C, kernel_size, peepholes=False))
            in_channels = C
        self.layers = layers
        C = hidden_channels[-1]
        self.around = [nn.Conv2d(C, C, 3, padding=1) for _ in range(COARSER)]
        self.back = [nn.Linear(C, C, bias=False) for _ in range(COARSER)]
        self.first, self.second = nn.Conv2d(C, C, 3, padding=1), nn.Conv2d(C, C, 3, padding=1)
        self.times = [nn.Linear(LEAD_FEATURES, C), nn.Linear(C, 2 * C)]
        self.output = nn.Linear(C, out_channels)
        for array in (self.times[1].weight, self.times[1].bias, self.output.weight, self.output.bias):
            array[:] = mx.zeros_like(array)

    def walk(self, x: mx.array) -> mx.array:
        """Returns what the frames (N, T, h, w, C) show, (N, h, w, C')."""
        for layer in self.layers:
            x, _ = layer(x)
        return convolved(self.first, relu(looked_around(x[:, -1], self.around, self.back)))

    def __call__(self, features: mx.array, lead: mx.array, minutes: mx.array, pixel_km: mx.array) -> mx.array:
        """Returns the maps of lead times.

        Args:
            features: The result of `walk`, (N, h, w, C').
            lead: Lead times in minutes, (N, T).
            minutes: Minutes from frame to frame, (N,).
            pixel_km: Side of a pixel in km, (N,).

        Returns:
            (N, T, h, w, out_channels).
        """
        N, T = lead.shape
        times = lead_features(lead, minutes, pixel_km)
        a, b = mx.split(self.times[1](relu(self.times[0](times)))[:, :, None, None], 2, axis=-1)
        z = relu((1 + a) * features[:, None] + b)
        z = relu(convolved(self.second, z.reshape(N * T, *z.shape[2:])))
        return self.output(z).reshape(N, T, *z.shape[1:3], -1)


def lead_features(lead: mx.array, minutes: mx.array, pixel_km: mx.array) -> mx.array:
    """Returns functions of lead times (N, T), of the step (N,) and of the pixel size (N,), (N, T, LEAD_FEATURES)."""
    hours = lead / 60
    about = [mx.broadcast_to(a[:, None], lead.shape) for a in (minutes / 10, mx.log2(pixel_km))]
    return mx.stack([hours, mx.sqrt(hours), mx.log1p(lead / 10) - 1, 1 / (1 + hours), *about], axis=-1)


def looked_around(x: mx.array, around: Sequence[nn.Conv2d], back: Sequence[nn.Linear]) -> mx.array:
    """Returns x + sum_k up^k(W_k relu(conv_k(pool^k))), (N, h, w, C), each grid half as fine as the one before."""
    total = coarse = x
    for k, (conv, own) in enumerate(zip(around, back, strict=True), 1):
        coarse = relu(convolved(conv, _pooled(coarse)))
        total = total + _spread(own(coarse), 2**k, x.shape[1], x.shape[2])
    return total


def convolved(conv: nn.Conv2d, x: mx.array) -> mx.array:
    """Returns a 3 x 3 convolution with zeros beyond the border, by this project's kernels."""
    return conv2d(x, conv.weight, (1, 1), (1, 1)) + conv.bias


def _pooled(x: mx.array) -> mx.array:
    """Returns the means of 2 x 2 pixels of (N, h, w, C); odd sides repeat the border."""
    h, w = x.shape[1:3]
    x = mx.concatenate([x, x[:, -1:]], axis=1) if h % 2 else x
    x = mx.concatenate([x, x[:, :, -1:]], axis=2) if w % 2 else x
    x = x[:, ::2] + x[:, 1::2]
    return (x[:, :, ::2] + x[:, :, 1::2]) / 4


def _spread(x: mx.array, times: int, h: int, w: int) -> mx.array:
    """Returns (N, h', w', C) on a grid that is `times` as fine, cut to (N, h, w, C)."""
    return mx.repeat(mx.repeat(x, times, axis=1), times, axis=2)[:, :h, :w]
