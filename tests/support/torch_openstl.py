"""OpenSTL's models in PyTorch, with random weights."""

from __future__ import annotations

from tests.support import torch_predrnn, torch_simvp

import torch
from torch import nn


class Cell(nn.Module):
    """OpenSTL's ConvLSTM cell, the parameters that it does not use among the others."""

    def __init__(self, C, O, k):
        super().__init__()
        self.O = O
        self.conv_x = nn.Sequential(nn.Conv2d(C, 4 * O, k, padding=k // 2, bias=False))
        self.conv_h = nn.Sequential(nn.Conv2d(O, 4 * O, k, padding=k // 2, bias=False))
        self.conv_o = nn.Sequential(nn.Conv2d(2 * O, O, k, padding=k // 2, bias=False))
        self.conv_last = nn.Conv2d(2 * O, O, 1, bias=False)

    def forward(self, x, h, c, legacy):
        i, f, g, o = (self.conv_x(x) + self.conv_h(h)).split(self.O, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * (g.tanh() if legacy else c.tanh()), c


class Stack(nn.Module):
    def __init__(self, channels, hidden, k):
        super().__init__()
        self.cell_list = nn.ModuleList([Cell(hidden[n - 1] if n else channels, O, k) for n, O in enumerate(hidden)])
        self.conv_last = nn.Conv2d(hidden[-1], channels, 1, bias=False)

    def forward(self, x, horizon, legacy=False):
        """Patches (N, T, C, H, W) -> the frames after them."""
        states = [(x.new_zeros(x.shape[0], cell.O, *x.shape[3:]),) * 2 for cell in self.cell_list]
        frames = []
        for t in range(x.shape[1] + horizon - 1):
            y = x[:, t] if t < x.shape[1] else frames[-1]
            for n, cell in enumerate(self.cell_list):
                states[n] = cell(y, *states[n], legacy)
                y = states[n][0]
            frames.append(self.conv_last(y))
        return torch.stack(frames[-horizon:], 1)


def randomised(network):
    generator = torch.Generator().manual_seed(3)
    for name, array in network.state_dict().items():
        if array.is_floating_point():
            scale = array[0].numel() ** -0.5 if array.ndim > 1 else 0.5
            drawn = torch.randn(array.shape, generator=generator) * scale
            array.copy_(drawn.abs() + 0.3 if name.endswith("running_var") else drawn)
    return network.eval()


def arrays_of(network):
    return {name: array.numpy() for name, array in network.state_dict().items()}


def openstl_stack():
    return randomised(Stack(2 * 4, (3, 5), 3))


def openstl_predrnn(**more):
    return randomised(torch_predrnn.Network(4, 6, 2, 3, **more))


def openstl_simvp(**more):
    return randomised(torch_simvp.SimVP(2, 3, 4, 6, 2, 2, **more))


NETWORKS = {
    "convlstm": openstl_stack,
    "predrnn": openstl_predrnn,
    "predrnn with norms": lambda: openstl_predrnn(grid=(4, 6)),
    "predrnn_v2": lambda: openstl_predrnn(adapter=True),
    "simvp": lambda: openstl_simvp(mlp_ratio=2.0, large_kernel=9),
    "simvp_incepu": lambda: openstl_simvp(translator="incepu", kernel_sizes=(3, 5), groups=3),
}
