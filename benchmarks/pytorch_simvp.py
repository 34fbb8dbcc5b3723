"""SimVP in PyTorch with our names of the parameters. Frames are NCHW, those of a sequence in consecutive order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benchmarks.pytorch_layout import layout

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, gelu, leaky_relu, pixel_shuffle, silu


class ConvBlock(nn.Module):
    """A convolution, group normalization, and SiLU."""

    def __init__(self, C: int, O: int, kernel_size: int, down: bool = False, up: bool = False):
        super().__init__()
        stride = 2 if down else 1
        self.conv = nn.Conv2d(C, 4 * O if up else O, kernel_size, stride, (kernel_size - stride + 1) // 2)
        self.norm, self.up = nn.GroupNorm(2, O), up

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return silu(self.norm(pixel_shuffle(y, 2) if self.up else y))


class Pointwise(nn.Module):
    """A 1 x 1 convolution."""

    def __init__(self, C: int, O: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(O, C)), nn.Parameter(torch.empty(O))

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight[:, :, None, None], self.bias)


class Depthwise(nn.Module):
    """A depthwise convolution, of each channel by itself."""

    def __init__(self, C: int, kernel_size: int, dilation: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel_size, kernel_size, C))
        self.bias, self.dilation = nn.Parameter(torch.empty(C)), dilation

    def forward(self, x: Tensor) -> Tensor:
        weight, d = self.weight.permute(2, 0, 1)[:, None].contiguous(), self.dilation
        return conv2d(x, weight, self.bias, padding=d * (weight.shape[-1] // 2), dilation=d, groups=len(weight))


class LargeKernelGate(nn.Module):
    """A large kernel, half of whose outputs are gates of the other half."""

    def __init__(self, C: int, large_kernel: int, dilation: int = 3):
        super().__init__()
        across = large_kernel // dilation
        self.near = Depthwise(C, 2 * dilation - 1)
        self.far = Depthwise(C, across + across % 2 - 1, dilation)
        self.mix = Pointwise(C, 2 * C)

    def forward(self, x: Tensor) -> Tensor:
        f, g = self.mix(self.far(self.near(x))).chunk(2, dim=1)
        return torch.sigmoid(g) * f


class Attention(nn.Module):
    """Gated attention to the surroundings of a pixel."""

    def __init__(self, C: int, large_kernel: int):
        super().__init__()
        self.project1, self.project2 = Pointwise(C, C), Pointwise(C, C)
        self.gate = LargeKernelGate(C, large_kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.project2(self.gate(gelu(self.project1(x)))) + x


class Perceptron(nn.Module):
    """Two pointwise convolutions with a depthwise one in between."""

    def __init__(self, C: int, hidden: int):
        super().__init__()
        self.expand, self.contract, self.depthwise = Pointwise(C, hidden), Pointwise(hidden, C), Depthwise(hidden, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(gelu(self.depthwise(self.expand(x))))


class BatchNorm(nn.Module):
    """Batch normalization without a count of the batches, like ours."""

    def __init__(self, C: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(C)), nn.Parameter(torch.empty(C))
        self.register_buffer("running_mean", torch.zeros(C))
        self.register_buffer("running_var", torch.ones(C))

    def forward(self, x: Tensor) -> Tensor:
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training)


class GatedBlock(nn.Module):
    """Attention and a perceptron, each with a residual connection."""

    def __init__(self, C: int, O: int, mlp_ratio: float, large_kernel: int):
        super().__init__()
        self.norm1, self.norm2 = BatchNorm(C), BatchNorm(C)
        self.attention, self.perceptron = Attention(C, large_kernel), Perceptron(C, int(C * mlp_ratio))
        self.scale1, self.scale2 = nn.Parameter(torch.empty(C)), nn.Parameter(torch.empty(C))
        self.reduce = None if C == O else Pointwise(C, O)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale1[:, None, None] * self.attention(self.norm1(x))
        x = x + self.scale2[:, None, None] * self.perceptron(self.norm2(x))
        return x if self.reduce is None else self.reduce(x)


class GatedTranslator(nn.Module):
    """Blocks of gated spatiotemporal attention."""

    def __init__(self, channels: int, hidden: int, blocks: int, mlp_ratio: float = 8.0, large_kernel: int = 21):
        super().__init__()
        sizes = [channels, *[hidden] * (blocks - 1), channels]
        self.blocks = nn.Sequential(*(GatedBlock(C, O, mlp_ratio, large_kernel) for C, O in pairwise(sizes)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class GroupedConv(nn.Module):
    """A convolution in groups, group normalization, and a leaky ReLU."""

    def __init__(self, C: int, O: int, kernel_size: int, groups: int):
        super().__init__()
        groups = groups if C % groups == 0 and O % groups == 0 else 1
        self.conv = nn.Conv2d(C, O, kernel_size, padding=kernel_size // 2, groups=groups)
        self.norm = nn.GroupNorm(groups, O)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.conv(x)), 0.2)


class Inception(nn.Module):
    """The sum of convolutions with several kernels."""

    def __init__(self, C: int, O: int, inner: int, kernel_sizes: Sequence[int], groups: int):
        super().__init__()
        self.inner = Pointwise(C, inner)
        self.branches = nn.ModuleList(GroupedConv(inner, O, k, groups) for k in kernel_sizes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        y = self.branches[0](x)
        for branch in self.branches[1:]:
            y = y + branch(x)
        return y


class InceptionTranslator(nn.Module):
    """Inception blocks in the form of a U."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        blocks: int,
        kernel_sizes: Sequence[int] = (3, 5, 7, 11),
        groups: int = 8,
    ):
        super().__init__()
        rest = (hidden // 2, kernel_sizes, groups)
        down = [channels] + [hidden] * (blocks - 1)
        up = [hidden] + [2 * hidden] * (blocks - 1)
        self.down = nn.ModuleList(Inception(C, hidden, *rest) for C in down)
        self.up = nn.ModuleList(Inception(C, channels if n == blocks - 1 else hidden, *rest) for n, C in enumerate(up))

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for block in self.down:
            x = block(x)
            seen.append(x)
        x = self.up[0](seen.pop())
        for block in self.up[1:]:
            x = block(torch.cat([x, seen.pop()], dim=1))
        return x


class SimVP(nn.Module):
    """convlstm.architectures.simvp.SimVP for a horizon equal to the number of inputs."""

    def __init__(
        self,
        in_channels: int = 1,
        frames: int = 10,
        hidden_channels: int = 64,
        translator_channels: int = 512,
        levels: int = 4,
        blocks: int = 8,
        kernel_size: int = 3,
        translator: str = "gsta",
    ):
        super().__init__()
        S, halves = hidden_channels, [n % 2 == 1 for n in range(levels)]
        sizes = [in_channels] + [S] * levels
        self.encoder = nn.ModuleList(
            ConvBlock(C, O, kernel_size, down=d) for (C, O), d in zip(pairwise(sizes), halves, strict=True)
        )
        make = {"gsta": GatedTranslator, "incepu": InceptionTranslator}[translator]
        self.translator = make(frames * S, translator_channels, blocks)
        self.decoder = nn.ModuleList(ConvBlock(S, S, kernel_size, up=u) for u in reversed(halves))
        self.output = nn.Conv2d(S, in_channels, 1)

    def forward(self, inputs: Tensor, horizon: int) -> tuple[Tensor, None]:
        """Returns the forecast (N, horizon, C, H, W), and None in place of further predictions."""
        if inputs.shape[1] != horizon:
            raise ValueError(f"[SimVP] is transcribed for {inputs.shape[1]} frames in and out but got {horizon}.")
        memory = layout(self.decoder[0].conv.weight)
        x = inputs.flatten(0, 1).contiguous(memory_format=memory)
        skip = x = self.encoder[0](x)
        for block in self.encoder[1:]:
            x = block(x)
        S = x.shape[1]
        x = self.translator(x.unflatten(0, inputs.shape[:2]).flatten(1, 2).contiguous(memory_format=memory))
        x = x.unflatten(1, (-1, S)).flatten(0, 1).contiguous(memory_format=memory)
        for block in self.decoder[:-1]:
            x = block(x)
        y = self.output(self.decoder[-1](x + skip))
        return y.unflatten(0, inputs.shape[:2]), None
