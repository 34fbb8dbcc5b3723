"""PredRNN and PredRNN-v2 in plain PyTorch, from the papers' equations, with the published code's parameter names."""

from __future__ import annotations

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS

import mlx.core as mx
import numpy as np
import torch
from mlx.utils import tree_flatten
from torch import nn
from torch.nn import functional


class Cell(nn.Module):
    def __init__(self, inputs, hidden, kernel, grid=None):
        super().__init__()
        self.hidden = hidden
        for name, outputs, channels in (
            ("conv_x", 7 * hidden, inputs),
            ("conv_h", 4 * hidden, hidden),
            ("conv_m", 3 * hidden, hidden),
            ("conv_o", hidden, 2 * hidden),
        ):
            parts = [nn.Conv2d(channels, outputs, kernel, padding=kernel // 2, bias=False)]
            parts += [] if grid is None else [nn.LayerNorm([outputs, *grid])]
            setattr(self, name, nn.Sequential(*parts))
        self.conv_last = nn.Conv2d(2 * hidden, hidden, 1, bias=False)

    def forward(self, x, h, c, m, forget_bias=1.0):
        xi, xf, xg, xi_, xf_, xg_, xo = self.conv_x(x).split(self.hidden, 1)
        hi, hf, hg, ho = self.conv_h(h).split(self.hidden, 1)
        mi, mf, mg = self.conv_m(m).split(self.hidden, 1)
        new = torch.sigmoid(xi + hi) * torch.tanh(xg + hg)
        new_m = torch.sigmoid(xi_ + mi) * torch.tanh(xg_ + mg)
        c = torch.sigmoid(xf + hf + forget_bias) * c + new
        m = torch.sigmoid(xf_ + mf + forget_bias) * m + new_m
        both = torch.cat([c, m], 1)
        o = torch.sigmoid(xo + ho + self.conv_o(both))
        return o * torch.tanh(self.conv_last(both)), c, m, new, new_m


class Network(nn.Module):
    """The whole network, for frames as patches, (N, T, C, H, W); `fed(t, prediction)` is the frame at step t."""

    def __init__(self, channels, hidden, layers, kernel, grid=None, adapter=False):
        super().__init__()
        self.cell_list = nn.ModuleList([Cell(hidden if n else channels, hidden, kernel, grid) for n in range(layers)])
        self.conv_last = nn.Conv2d(hidden, channels, 1, bias=False)
        if adapter:
            self.adapter = nn.Conv2d(hidden, hidden, 1, bias=False)

    def forward(self, fed, steps, forget_bias=1.0):
        frame, frames, likeness = None, [], []
        for t in range(steps):
            x = fed(t, frame)
            if t == 0:
                zeros = x.new_zeros(x.shape[0], self.conv_last.in_channels, *x.shape[2:])
                h, c, m = [zeros] * len(self.cell_list), [zeros] * len(self.cell_list), zeros
            for n, cell in enumerate(self.cell_list):
                h[n], c[n], m, new, new_m = cell(x, h[n], c[n], m, forget_bias)
                x = h[n]
                if hasattr(self, "adapter"):
                    a, b = (functional.normalize(self.adapter(d).flatten(2), dim=2) for d in (new, new_m))
                    likeness.append(functional.cosine_similarity(a, b, dim=2).abs().mean())
            frame = self.conv_last(x)
            frames.append(frame)
        return torch.stack(frames, 1), torch.stack(likeness).mean() if likeness else None


NAMES = {"Wx": "conv_x.0.weight", "Wh": "conv_h.0.weight", "Wm": "conv_m.0.weight", "Wo": "conv_o.0.weight"}
NAMES |= {f"norm_{n}.{p}": f"conv_{n}.1.{p}" for n in "xhmo" for p in ("weight", "bias")}
NAMES["W1"] = "conv_last.weight"


def torch_name(name: str) -> str:
    """Returns the published code's name of one of our parameters."""
    if not name.startswith("cells."):
        return name.replace("output.", "conv_last.")
    _, n, rest = name.split(".", 2)
    return f"cell_list.{n}.{NAMES[rest]}"


def to_torch(array) -> torch.Tensor:
    """Returns weights OHWI or HWC as OIHW or CHW, in float64."""
    a = np.array(array, dtype=np.float64)
    return torch.from_numpy(np.moveaxis(a, -1, -3).copy())


def network(model) -> Network:
    """Returns PyTorch's network with the weights of a `PredRNN`, in float64."""
    cell = model.cells[0]
    torch_model = Network(
        cell.in_channels,
        cell.out_channels,
        len(model.cells),
        cell.kernel_size[0],
        cell.norm_grid,
        model.decoupling is not None,
    ).double()
    weights = dict(tree_flatten(model.parameters()))
    torch_model.load_state_dict({torch_name(name): to_torch(a) for name, a in weights.items()})
    return torch_model


def patches(frames: mx.array, size: int) -> torch.Tensor:
    """Returns (N, T, H, W, C) as (N, T, size * size * C, H / size, W / size)."""
    x = np.array(frames, dtype=np.float64)
    N, T, H, W, C = x.shape
    x = x.reshape(N, T, H // size, size, W // size, size, C).transpose(0, 1, 3, 5, 6, 2, 4)
    return torch.from_numpy(x.reshape(N, T, size * size * C, H // size, W // size).copy())


def pixels(frames: torch.Tensor, size: int) -> np.ndarray:
    """Returns the inverse of `patches`."""
    x = frames.detach().numpy()
    N, T, channels, H, W = x.shape
    x = x.reshape(N, T, size, size, channels // size**2, H, W).transpose(0, 1, 5, 2, 6, 3, 4)
    return x.reshape(N, T, H * size, W * size, channels // size**2)
