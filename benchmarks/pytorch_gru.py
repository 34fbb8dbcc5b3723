"""Layers of ConvGRU and TrajGRU in PyTorch with our names of the parameters, in the form of pytorch_models.ConvLSTM."""

from __future__ import annotations

from typing import Any

from benchmarks.pytorch_layout import layout

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, grid_sample, leaky_relu


class GRUCell(nn.Module):
    """A ConvGRU cell. Its weights have the gates in the order z, r, h."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, recurrent: tuple[int, int] | None = None):
        super().__init__()
        O, k = out_channels, kernel_size
        inputs, size = recurrent or (O, k)
        if in_channels:
            self.Wx, self.bx = nn.Parameter(torch.empty(3 * O, in_channels, k, k)), nn.Parameter(torch.empty(3 * O))
        self.Wh, self.bh = nn.Parameter(torch.empty(3 * O, inputs, size, size)), nn.Parameter(torch.empty(3 * O))

    @property
    def kernel(self) -> Tensor:
        """A kernel with the memory layout of the frames."""
        return self.Wh

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns the input's share of the pre-activations of all steps."""
        return (conv2d(x, self.Wx, self.bx, padding=self.Wx.shape[2] // 2),)

    def recur(self, projected: tuple[Tensor, ...], h: Tensor) -> Tensor:
        """Returns the hidden state's share of the pre-activations."""
        return conv2d(h, self.Wh, self.bh, padding=self.Wh.shape[2] // 2)

    def step(self, projected: tuple[Tensor, ...], h: Tensor) -> Tensor:
        """Returns the next state."""
        yz, yr, yh = self.recur(projected, h).chunk(3, dim=1)
        if not projected:
            z, r = torch.sigmoid(yz), torch.sigmoid(yr)
            g = leaky_relu(r * yh, 0.2)
        else:
            xz, xr, xh = projected[0].chunk(3, dim=1)
            z, r = torch.sigmoid(xz + yz), torch.sigmoid(xr + yr)
            g = leaky_relu(xh + r * yh, 0.2)
        return (1 - z) * g + z * h


class TrajGRUCell(GRUCell):
    """A TrajGRU cell with 32 channels before the flows and kernels of 5 x 5."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, links: int):
        super().__init__(in_channels, out_channels, kernel_size, (links * out_channels, 1))
        F, k = 32, 5
        if in_channels:
            self.Wfx, self.bfx = nn.Parameter(torch.empty(F, in_channels, k, k)), nn.Parameter(torch.empty(F))
        self.Wfh, self.bfh = nn.Parameter(torch.empty(F, out_channels, k, k)), nn.Parameter(torch.empty(F))
        self.Wf, self.bf = nn.Parameter(torch.empty(2 * links, F, k, k)), nn.Parameter(torch.empty(2 * links))

    @property
    def kernel(self) -> Tensor:
        """A kernel with the memory layout of the frames."""
        return self.Wfh

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns the input's share of the pre-activations of all steps."""
        return *super().project(x), conv2d(x, self.Wfx, self.bfx, padding=2)

    def recur(self, projected: tuple[Tensor, ...], h: Tensor) -> Tensor:
        """Returns the hidden state's share of the pre-activations, along the flows."""
        flow = conv2d(h, self.Wfh, self.bfh, padding=2)
        flow = conv2d(leaky_relu(flow + projected[1] if projected else flow, 0.2), self.Wf, self.bf, padding=2)
        return conv2d(warp(h, flow), self.Wh, self.bh)


def warp(h: Tensor, flow: Tensor) -> Tensor:
    """Returns h (N, O, H, W) at the origins of L flows (N, 2L, H, W), as (N, L O, H, W); it is 0 outside the field."""
    H, W = h.shape[2:]
    rows, columns = torch.meshgrid(*(torch.arange(n, device=h.device) for n in (H, W)), indexing="ij")
    fields = []
    for v, u in zip(flow[:, 0::2].unbind(1), flow[:, 1::2].unbind(1), strict=True):
        # grid_sample's coordinates go from -1 to 1, columns first, between the centres of the outer pixels.
        place = [2 * (columns - u) / (W - 1) - 1, 2 * (rows - v) / (H - 1) - 1]
        fields.append(grid_sample(h, torch.stack(place, dim=-1), padding_mode="zeros", align_corners=True))
    return torch.cat(fields, dim=1)


class ConvGRU(nn.Module):
    """A cell that is unrolled in time. The convolutions of the input run once for all steps."""

    def __init__(self, cell: GRUCell, out_channels: int):
        super().__init__()
        self.cell, self.out_channels = cell, out_channels

    def forward(self, x: Tensor | None, length: int, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the hidden states (T N, O, H, W), and the final one."""
        shares: list[Any] = [()] * length
        if x is not None:
            shares = list(zip(*(share.chunk(length) for share in self.cell.project(x)), strict=True))
        if state is None:
            state = torch.zeros_like(shares[0][0][:, : self.out_channels], memory_format=layout(self.cell.kernel))
        hidden = []
        for t in range(length):
            state = self.cell.step(shares[t], state)
            hidden.append(state)
        return torch.cat(hidden), state
