"""SimVP's translators: they turn the encoded input frames into forecast frames, all as channels of one image.

Each maps (N, H, W, C) to (N, H, W, C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from convlstm.arguments import check_number, check_whole
from convlstm.ops.activations import gated_halves, gelu
from convlstm.ops.convolution import grouped_conv2d
from convlstm.ops.depthwise import depthwise_conv2d
from convlstm.ops.linear import linear
from convlstm.ops.norms import BatchNorm, group_norm

import mlx.core as mx
import mlx.nn as nn


class Pointwise(nn.Module):
    """A 1x1 convolution, computed as a matrix product: (..., C) -> (..., O).

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels O of the output.
        gated: If True, it starts as in OpenSTL's blocks of gated attention: weights from a normal distribution of
            variance 2 / O, a bias of 0. Default: False, both drawn evenly from -1 / sqrt(C) to 1 / sqrt(C).
    """

    def __init__(self, in_channels: int, out_channels: int, *, gated: bool = False):
        super().__init__()
        bound = in_channels**-0.5
        if gated:
            self.weight = mx.random.normal((out_channels, in_channels), scale=math.sqrt(2 / out_channels))
            self.bias = mx.zeros(out_channels)
        else:
            self.weight = mx.random.uniform(-bound, bound, (out_channels, in_channels))
            self.bias = mx.random.uniform(-bound, bound, (out_channels,))

    def __call__(self, x: mx.array) -> mx.array:
        return linear(x, self.weight, self.bias)


class Depthwise(nn.Module):
    """A convolution of each channel on its own, on the same grid: (N, H, W, C) -> (N, H, W, C).

    It starts as in OpenSTL's blocks of gated attention, by the rule of `Pointwise` for one output per channel.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int = 1, *, circular: bool = False):
        super().__init__()
        self.dilation, self.circular = dilation, circular
        self.weight = mx.random.normal((kernel_size, kernel_size, channels), scale=math.sqrt(2) / kernel_size)
        self.bias = mx.zeros(channels)

    def __call__(self, x: mx.array) -> mx.array:
        return depthwise_conv2d(x, self.weight, self.dilation, circular=self.circular) + self.bias


class LargeKernelGate(nn.Module):
    """A large kernel as three convolutions, with half of their channels as a gate: (N, H, W, C) -> (N, H, W, C).

        a = pointwise(dilated depthwise(depthwise(x))),  y = sigmoid(a_2) o a_1

    a_1 and a_2 are the halves of the channels. A kernel of 21 x 21 is one of 5 x 5 and one of 7 x 7 that sees every
    third pixel.
    """

    def __init__(self, channels: int, large_kernel: int = 21, dilation: int = 3, *, circular: bool = False):
        super().__init__()
        across = large_kernel // dilation
        across += across % 2 - 1
        self.near = Depthwise(channels, 2 * dilation - 1, circular=circular)
        self.far = Depthwise(channels, across, dilation, circular=circular)
        self.mix = Pointwise(channels, 2 * channels, gated=True)

    def __call__(self, x: mx.array) -> mx.array:
        return gated_halves(self.mix(self.far(self.near(x))))


class GatedAttention(nn.Module):
    """The attention of a pixel to its surroundings, W_2 gate(GELU(W_1 x)) + x: (N, H, W, C) -> (N, H, W, C)."""

    def __init__(self, channels: int, large_kernel: int, *, circular: bool = False):
        super().__init__()
        self.project1, self.project2 = (Pointwise(channels, channels, gated=True) for _ in range(2))
        self.gate = LargeKernelGate(channels, large_kernel, circular=circular)

    def __call__(self, x: mx.array) -> mx.array:
        return self.project2(self.gate(gelu(self.project1(x)))) + x


class MixedPerceptron(nn.Module):
    """A perceptron that also mixes neighbouring pixels, V_2 GELU(depthwise(V_1 x)): (N, H, W, C) -> (N, H, W, C)."""

    def __init__(self, channels: int, hidden_channels: int, *, circular: bool = False):
        super().__init__()
        self.expand = Pointwise(channels, hidden_channels, gated=True)
        self.contract = Pointwise(hidden_channels, channels, gated=True)
        self.depthwise = Depthwise(hidden_channels, 3, circular=circular)

    def __call__(self, x: mx.array) -> mx.array:
        return self.contract(gelu(self.depthwise(self.expand(x))))


class GatedBlock(nn.Module):
    r"""A block of gated spatiotemporal attention (gSTA): (N, H, W, C) -> (N, H, W, O).

        x' = x + s_1 o attention(BN_1(x)),  y = x' + s_2 o perceptron(BN_2(x'))

    s_1 and s_2 scale channels. If C is not O, a pointwise convolution follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        mlp_ratio: float = 8.0,
        large_kernel: int = 21,
        circular: bool = False,
        recompute: bool,
    ):
        super().__init__()
        C = in_channels
        self.norm1, self.norm2 = BatchNorm(C), BatchNorm(C)
        self.attention = GatedAttention(C, large_kernel, circular=circular)
        self.perceptron = MixedPerceptron(C, int(C * mlp_ratio), circular=circular)
        self.scale1, self.scale2 = mx.full((C,), 1e-2), mx.full((C,), 1e-2)
        self.reduce = None if in_channels == out_channels else Pointwise(in_channels, out_channels)
        self.recompute = recompute

    def __call__(self, x: mx.array) -> mx.array:
        # The norms update their statistics at every call, so they must not be computed again.
        x = x + self.scale1 * _run(self.attention, self.norm1(x), self.recompute)
        x = x + self.scale2 * _run(self.perceptron, self.norm2(x), self.recompute)
        return x if self.reduce is None else self.reduce(x)


def _run(module: nn.Module, x: mx.array, recompute: bool) -> mx.array:
    return nn.utils.checkpoint(module)(x) if recompute else module(x)


class GatedTranslator(nn.Module):
    """Blocks of gated spatiotemporal attention.

    Args:
        channels: Channels C of the input and the output.
        hidden_channels: Channels between the first and the last block.
        blocks: Number of blocks, at least 2.
        mlp_ratio: Channels inside a block's perceptron, relative to the block's. Default: 8.
        large_kernel: Side of the square that attention sees. Default: 21.
        circular: If True, the columns go round. Default: False.
        recompute: If True, the gradient computes the values between the norms again. Default: False.

    Raises:
        ValueError: `mlp_ratio` is below 1 or `large_kernel` below 9.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        blocks: int,
        *,
        mlp_ratio: float = 8.0,
        large_kernel: int = 21,
        circular: bool = False,
        recompute: bool = False,
    ):
        super().__init__()
        check_number("GatedTranslator", "mlp_ratio", mlp_ratio, 1)
        check_whole("GatedTranslator", "large_kernel", large_kernel, 9)
        sizes = [channels, *[hidden_channels] * (blocks - 1), channels]
        about: dict[str, Any] = {
            "mlp_ratio": mlp_ratio,
            "large_kernel": large_kernel,
            "circular": circular,
            "recompute": recompute,
        }
        self.blocks = [GatedBlock(C, O, **about) for C, O in pairwise(sizes)]

    def __call__(self, x: mx.array) -> mx.array:
        for block in self.blocks:
            x = block(x)
        return x


class GroupedConv(nn.Module):
    """A grouped convolution on the same grid, group normalisation and a leaky ReLU: (N, H, W, C) -> (N, H, W, O)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int, circular: bool):
        super().__init__()
        self.circular = circular
        self.groups = groups if in_channels % groups == 0 and out_channels % groups == 0 else 1
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=self.groups)
        self.norm = nn.GroupNorm(self.groups, out_channels, pytorch_compatible=True)

    def __call__(self, x: mx.array) -> mx.array:
        y = grouped_conv2d(x, self.conv.weight, self.groups, circular=self.circular)
        norm = self.norm
        return group_norm(y, self.conv.bias, norm.weight, norm.bias, norm.num_groups, "leaky_relu", epsilon=norm.eps)


class Inception(nn.Module):
    """A pointwise convolution, then the sum of convolutions with several kernels: (N, H, W, C) -> (N, H, W, O)."""

    def __init__(
        self, in_channels: int, out_channels: int, inner: int, kernel_sizes: Sequence[int], groups: int, circular: bool
    ):
        super().__init__()
        self.inner = Pointwise(in_channels, inner)
        self.branches = [GroupedConv(inner, out_channels, k, groups, circular) for k in kernel_sizes]

    def __call__(self, x: mx.array) -> mx.array:
        x = self.inner(x)
        return sum((branch(x) for branch in self.branches[1:]), self.branches[0](x))


class InceptionTranslator(nn.Module):
    """Inceptions in the form of a U: those of the second half also read the outputs of the first half.

    Args:
        channels: Channels C of the input and the output.
        hidden_channels: Channels between the inceptions; half of them are the inceptions' inner channels.
        blocks: Inceptions in each half, at least 2.
        kernel_sizes: Kernels of an inception's convolutions, odd. Default: (3, 5, 7, 11).
        groups: Groups of these convolutions; 1 if the channels cannot be divided by it. Default: 8.
        circular: If True, the columns go round. Default: False.
        recompute: If True, the gradient computes each inception again. Default: False.

    Raises:
        ValueError: `kernel_sizes` or `groups` is out of its range.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        blocks: int,
        *,
        kernel_sizes: Sequence[int] = (3, 5, 7, 11),
        groups: int = 8,
        circular: bool = False,
        recompute: bool = False,
    ):
        super().__init__()
        if not kernel_sizes or not all(type(k) is int and k >= 1 and k % 2 for k in kernel_sizes):
            raise ValueError(
                f"[InceptionTranslator] 'kernel_sizes' must be odd numbers, one or more, but got {list(kernel_sizes)}."
            )
        check_whole("InceptionTranslator", "groups", groups)
        self.recompute = recompute
        hidden = hidden_channels

        def inception(C: int, O: int) -> Inception:
            return Inception(C, O, hidden // 2, kernel_sizes, groups, circular)

        self.down = [inception(channels, hidden)] + [inception(hidden, hidden) for _ in range(blocks - 1)]
        self.up = [inception(hidden, hidden)] + [inception(2 * hidden, hidden) for _ in range(blocks - 2)]
        self.up.append(inception(2 * hidden, channels))

    def __call__(self, x: mx.array) -> mx.array:
        skips = []
        for block in self.down:
            x = _run(block, x, self.recompute)
            skips.append(x)
        x = _run(self.up[0], skips.pop(), self.recompute)
        for block in self.up[1:]:
            x = _run(block, mx.concatenate([x, skips.pop()], axis=-1), self.recompute)
        return x


TRANSLATORS = {"gsta": GatedTranslator, "incepu": InceptionTranslator}
