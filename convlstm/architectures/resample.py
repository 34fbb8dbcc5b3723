"""The convolutions between the levels of an encoder-forecaster."""

from __future__ import annotations

from convlstm.arguments import check_flags, check_number, check_whole
from convlstm.ops.activations import leaky_relu
from convlstm.ops.circular import circular_conv_transpose2d, ring_width
from convlstm.ops.convolution import Pair, conv2d, int_pair, output_size

import mlx.core as mx
import mlx.nn as nn


class Resample(nn.Module):
    """A strided convolution, or a transposed one, over every frame of a sequence, with a leaky ReLU.

    (N, L, H, W, C) -> (N, L, H', W', O).

    Args:
        in_channels: Channels C of the input.
        channels: Channels O of the output.
        kernel_size: Kernel of the convolution; an int or a pair.
        stride: Stride of the convolution; an int or a pair. Default: 1.
        padding: Padding of the convolution; an int or a pair. Default: 0. A transposed convolution restores the size
            before a convolution with the same kernel, stride and padding if (size + 2 padding - kernel_size) is a
            multiple of the stride.
        up: If True, the convolution is transposed. Default: False.
        negative_slope: Slope of the leaky ReLU below zero. Default: 0.2, as in Shi et al., 2017.
        bias: If True, the convolution has a bias. Default: True.
        circular: If True, the columns go round: `padding` is of the rows, and the first output sees as many columns
            beyond the seam. A stride that divides the width divides the columns, and multiplies them with `up`.
            Default: False.

    Raises:
        ValueError: An argument does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        up: bool = False,
        negative_slope: float = 0.2,
        bias: bool = True,
        circular: bool = False,
    ):
        super().__init__()
        check_whole("Resample", "in_channels", in_channels)
        check_whole("Resample", "channels", channels)
        check_flags("Resample", up=up, bias=bias, circular=circular)
        negative_slope = check_number("Resample", "negative_slope", negative_slope)
        self.kernel_size = int_pair("Resample", "kernel_size", kernel_size, 1)
        self.stride = int_pair("Resample", "stride", stride, 1)
        self.padding = int_pair("Resample", "padding", padding, 0)
        self.up, self.negative_slope, self.circular = up, negative_slope, circular
        conv = nn.ConvTranspose2d if up else nn.Conv2d
        self.conv = conv(in_channels, channels, self.kernel_size, stride=self.stride, padding=self.padding, bias=bias)

    def output_size(self, size: Pair) -> Pair:
        """Returns height and width of the output for frames of `size`."""
        if self.up:
            height, width = (
                (length - 1) * s - 2 * p + k
                for length, k, s, p in zip(size, self.kernel_size, self.stride, self.padding, strict=True)
            )
            return height, size[1] * self.stride[1] if self.circular else width
        sides = (size[0], self.kernel_size[1]) if self.circular else size  # a ring has columns for any kernel
        height, width = output_size("Resample", sides, self.kernel_size, self.stride, self.padding)
        return height, ring_width(size[1], self.stride[1]) if self.circular else width

    def __call__(self, x: mx.array) -> mx.array:
        N, L = x.shape[:2]
        x = x.reshape(N * L, *x.shape[2:])
        if self.up and not self.circular:
            y = self.conv(x)
        else:
            W = self.conv.weight
            if self.up:
                y = circular_conv_transpose2d(x, W, self.stride, self.padding)
            else:
                y = conv2d(x, W, self.stride, self.padding, circular=self.circular)
            y = y + self.conv.bias if "bias" in self.conv else y
        return leaky_relu(y, self.negative_slope).reshape(N, L, *y.shape[1:])
