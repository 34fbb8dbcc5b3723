"""SimVP in PyTorch, from the papers' equations and with OpenSTL's names of parameters, to test ours with."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """OpenSTL's ConvSC."""

    def __init__(self, C, O, k, stride=1, up=False):
        super().__init__()
        conv = nn.Conv2d(C, 4 * O if up else O, k, stride, (k - stride + 1) // 2)
        self.conv = nn.Module()
        self.conv.conv = nn.Sequential(conv, nn.PixelShuffle(2)) if up else conv
        self.conv.norm = nn.GroupNorm(2, O)

    def forward(self, x):
        return F.silu(self.conv.norm(self.conv.conv(x)))


class Encoder(nn.Module):
    def __init__(self, C, O, levels, k):
        super().__init__()
        strides = [1, 2] * (levels // 2)
        self.enc = nn.Sequential(*(Block(C if n == 0 else O, O, k, s) for n, s in enumerate(strides)))

    def forward(self, x):
        skip = x = self.enc[0](x)
        for block in self.enc[1:]:
            x = block(x)
        return x, skip


class Decoder(nn.Module):
    def __init__(self, C, O, levels, k):
        super().__init__()
        self.dec = nn.Sequential(*(Block(C, C, k, up=n % 2 == 0) for n in range(levels)))
        self.readout = nn.Conv2d(C, O, 1)

    def forward(self, x, skip):
        for block in self.dec[:-1]:
            x = block(x)
        return self.readout(self.dec[-1](x + skip))


class Gate(nn.Module):
    def __init__(self, C, k, dilation=3):
        super().__init__()
        near, far = 2 * dilation - 1, k // dilation + (k // dilation) % 2 - 1
        self.conv0 = nn.Conv2d(C, C, near, padding=near // 2, groups=C)
        self.conv_spatial = nn.Conv2d(C, C, far, padding=dilation * (far // 2), groups=C, dilation=dilation)
        self.conv1 = nn.Conv2d(C, 2 * C, 1)

    def forward(self, x):
        f, g = self.conv1(self.conv_spatial(self.conv0(x))).chunk(2, dim=1)
        return torch.sigmoid(g) * f


class Attention(nn.Module):
    def __init__(self, C, k):
        super().__init__()
        self.proj_1, self.spatial_gating_unit, self.proj_2 = nn.Conv2d(C, C, 1), Gate(C, k), nn.Conv2d(C, C, 1)

    def forward(self, x):
        return self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(x)))) + x


class Mlp(nn.Module):
    def __init__(self, C, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(C, hidden, 1), nn.Conv2d(hidden, C, 1)
        self.dwconv = nn.Module()
        self.dwconv.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x):
        return self.fc2(F.gelu(self.dwconv.dwconv(self.fc1(x))))


class SubBlock(nn.Module):
    def __init__(self, C, k, ratio):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.BatchNorm2d(C), Attention(C, k), nn.BatchNorm2d(C)
        self.mlp = Mlp(C, int(C * ratio))
        self.layer_scale_1 = nn.Parameter(torch.full((C,), 1e-2))
        self.layer_scale_2 = nn.Parameter(torch.full((C,), 1e-2))

    def forward(self, x):
        x = x + self.layer_scale_1[:, None, None] * self.attn(self.norm1(x))
        return x + self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x))


class Meta(nn.Module):
    def __init__(self, C, O, k, ratio):
        super().__init__()
        self.block = SubBlock(C, k, ratio)
        if C != O:
            self.reduction = nn.Conv2d(C, O, 1)

    def forward(self, x):
        x = self.block(x)
        return self.reduction(x) if hasattr(self, "reduction") else x


class MetaNet(nn.Module):
    def __init__(self, C, hidden, blocks, mlp_ratio=8.0, large_kernel=21):
        super().__init__()
        sizes = [C, *[hidden] * (blocks - 1), C]
        self.enc = nn.Sequential(*(Meta(a, b, large_kernel, mlp_ratio) for a, b in itertools.pairwise(sizes)))

    def forward(self, x):
        return self.enc(x)


class Group(nn.Module):
    def __init__(self, C, O, k, groups):
        super().__init__()
        groups = groups if C % groups == 0 and O % groups == 0 else 1
        self.conv, self.norm = nn.Conv2d(C, O, k, padding=k // 2, groups=groups), nn.GroupNorm(groups, O)

    def forward(self, x):
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class Inception(nn.Module):
    def __init__(self, C, inner, O, kernels, groups):
        super().__init__()
        self.conv1 = nn.Conv2d(C, inner, 1)
        self.layers = nn.Sequential(*(Group(inner, O, k, groups) for k in kernels))

    def forward(self, x):
        x = self.conv1(x)
        return sum(layer(x) for layer in self.layers)


class IncepNet(nn.Module):
    def __init__(self, C, hidden, blocks, kernel_sizes=(3, 5, 7, 11), groups=8):
        super().__init__()
        more = (kernel_sizes, groups)
        self.enc = nn.Sequential(
            *(Inception(C if n == 0 else hidden, hidden // 2, hidden, *more) for n in range(blocks))
        )
        self.dec = nn.Sequential(
            *(
                Inception(hidden if n == 0 else 2 * hidden, hidden // 2, C if n == blocks - 1 else hidden, *more)
                for n in range(blocks)
            )
        )

    def forward(self, x):
        skips = []
        for block in self.enc:
            x = block(x)
            skips.append(x)
        x = self.dec[0](x)
        for n, block in enumerate(self.dec[1:], start=2):
            x = block(torch.cat([x, skips[-n]], dim=1))
        return x


class SimVP(nn.Module):
    """Returns the forecast: (N, T, C, H, W) -> (N, T, C, H, W)."""

    def __init__(self, C=1, T=10, S=64, hid=512, levels=4, blocks=8, kernel=3, translator="gsta", **options):
        super().__init__()
        self.enc, self.dec = Encoder(C, S, levels, kernel), Decoder(S, C, levels, kernel)
        self.hid = {"gsta": MetaNet, "incepu": IncepNet}[translator](T * S, hid, blocks, **options)

    def forward(self, x):
        N, T, C, H, W = x.shape
        z, skip = self.enc(x.reshape(N * T, C, H, W))
        _, S, h, w = z.shape
        z = self.hid(z.reshape(N, T * S, h, w)).reshape(N * T, S, h, w)
        return self.dec(z, skip).reshape(N, T, C, H, W)
