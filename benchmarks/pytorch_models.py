"""The models in PyTorch with our names of the parameters.

Frames are NCHW. All time steps of a sequence form one batch, time first, (T N, C, H, W): a convolution over all steps
then needs no copy, and a split into steps is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.pytorch_gru import ConvGRU, GRUCell, TrajGRUCell
from benchmarks.pytorch_layout import batch_first, layout, time_first
from benchmarks.pytorch_simvp import SimVP as SimVP

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

State = tuple[Tensor, Tensor]


def space_to_depth(x: Tensor, size: int) -> Tensor:
    """Returns (B, C, H, W) as (B, size size C, H/size, W/size), channel (row * size + column) * C + c."""
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // size, size, W // size, size).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(B, size * size * C, H // size, W // size)


def depth_to_space(x: Tensor, size: int) -> Tensor:
    """Returns patches as pixels; the inverse of `space_to_depth`."""
    B, channels, H, W = x.shape
    C = channels // size**2
    return x.reshape(B, size, size, C, H, W).permute(0, 3, 4, 1, 5, 2).reshape(B, C, H * size, W * size)


class Cell(nn.Module):
    """A ConvLSTM cell with 'same' padding. Its weights have the gates in the order i, f, g, o."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool, peepholes: bool):
        super().__init__()
        O, k = out_channels, kernel_size
        if in_channels:
            self.Wx = nn.Parameter(torch.empty(4 * O, in_channels, k, k))
        self.Wh = nn.Parameter(torch.empty(4 * O, O, k, k))
        self.bias = nn.Parameter(torch.empty(4 * O)) if bias else None
        if peepholes:
            self.Wci, self.Wcf, self.Wco = (nn.Parameter(torch.empty(O)) for _ in range(3))
        self.has_peepholes, self.padding = peepholes, kernel_size // 2

    @property
    def kernel(self) -> Tensor:
        """A kernel with the memory layout of the frames."""
        return self.Wh

    def project(self, x: Tensor) -> Tensor:
        """Returns the input's share of the pre-activations."""
        return conv2d(x, self.Wx, self.bias, padding=self.padding)

    def step(self, z: Tensor | None, state: State) -> State:
        """Returns the next state."""
        h, c = state
        zh = conv2d(h, self.Wh, self.bias if z is None else None, padding=self.padding)
        i, f, g, o = (zh if z is None else zh + z).chunk(4, dim=1)
        if self.has_peepholes:
            i, f = i + self.Wci[:, None, None] * c, f + self.Wcf[:, None, None] * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if self.has_peepholes:
            o = o + self.Wco[:, None, None] * c
        return torch.sigmoid(o) * torch.tanh(c), c


class ConvLSTM(nn.Module):
    """A cell that is unrolled in time. The convolution of the input runs once for all steps."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 5, bias: bool = True, peepholes: bool = True
    ):
        super().__init__()
        self.cell = Cell(in_channels, out_channels, kernel_size, bias, peepholes)
        self.out_channels = out_channels

    def forward(self, x: Tensor | None, length: int, state: State | None = None) -> tuple[Tensor, State]:
        """Returns the hidden states (T N, O, H, W), and the final state."""
        z: list[Any] = [None] * length if x is None else self.cell.project(x).chunk(length)
        if state is None:
            zeros = torch.zeros_like(z[0][:, : self.out_channels], memory_format=layout(self.cell.Wh))
            state = (zeros, zeros)
        hidden = []
        for t in range(length):
            state = self.cell.step(z[t], state)
            hidden.append(state[0])
        return torch.cat(hidden), state


class EncoderForecaster(nn.Module):
    """convlstm.models.EncoderForecaster without resampling, with concatenated states for the output."""

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: Sequence[int] = (64, 64),
        kernel_size: int = 5,
        patch_size: int = 1,
        activation: str = "sigmoid",
        next_frame_weight: float = 0.0,
        bias: bool = True,
        peepholes: bool = True,
        cell: str = "convlstm",
        links: int = 13,
    ):
        super().__init__()
        self.patch_size, self.activation, self.next_frame_weight = patch_size, activation, next_frame_weight
        channels = in_channels * patch_size**2
        sizes, above = [channels, *hidden_channels], [*hidden_channels[1:], 0]

        def layer(C: int, O: int) -> nn.Module:
            if cell == "convlstm":
                return ConvLSTM(C, O, kernel_size, bias, peepholes)
            return ConvGRU(
                GRUCell(C, O, kernel_size) if cell == "convgru" else TrajGRUCell(C, O, kernel_size, links), O
            )

        self.encoder = nn.ModuleList(layer(C, O) for C, O in zip(sizes, hidden_channels, strict=False))
        self.forecaster = nn.ModuleList(layer(C, O) for C, O in zip(above, hidden_channels, strict=True))
        self.output = nn.Conv2d(sum(hidden_channels), channels, 1)

    def predict(self, hidden: Sequence[Tensor]) -> Tensor:
        """Returns frames (T N, C, H, W) from the levels' hidden states."""
        y = depth_to_space(self.output(torch.cat(list(hidden), dim=1)), self.patch_size)
        return torch.sigmoid(y) if self.activation == "sigmoid" else y

    def forward(self, inputs: Tensor, horizon: int) -> tuple[Tensor, Tensor | None]:
        """Returns the forecast and, if training uses them, the encoder's predictions of all inputs but the first."""
        N, length = inputs.shape[:2]
        x = space_to_depth(time_first(inputs, self.encoder[0].cell.kernel), self.patch_size)
        states, seen = [], []
        for layer in self.encoder:
            x, state = layer(x, length)
            states.append(state)
            seen.append(x)
        y: Tensor | None = None
        hidden: list[Tensor] = []
        for layer, state in zip(reversed(self.forecaster), reversed(states), strict=True):
            y, _ = layer(y, horizon, state)
            hidden.insert(0, y)
        forecast = batch_first(self.predict(hidden), horizon)
        if not (self.training and self.next_frame_weight):
            return forecast, None
        return forecast, batch_first(self.predict([h[:-N] for h in seen]), length - 1)


class ConvLSTMStack(nn.Module):
    """convlstm.architectures.convlstm_stack.ConvLSTMStack."""

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: Sequence[int] = (128, 128, 128, 128),
        kernel_size: int = 5,
        patch_size: int = 4,
        bias: bool = False,
        peepholes: bool = False,
    ):
        super().__init__()
        self.patch_size = patch_size
        channels = in_channels * patch_size**2
        sizes = [channels, *hidden_channels]
        self.layers = nn.ModuleList(
            ConvLSTM(C, O, kernel_size, bias, peepholes) for C, O in zip(sizes, hidden_channels, strict=False)
        )
        self.output = nn.Conv2d(hidden_channels[-1], channels, 1, bias=False)

    def forward(self, inputs: Tensor, horizon: int, truth: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Returns predictions of all next frames, (N, T_in + horizon - 1, C, H, W)."""
        length, weight = inputs.shape[1], self.layers[0].cell.Wh
        N = inputs.shape[0]
        x = space_to_depth(time_first(inputs, weight), self.patch_size)
        true = None if truth is None else space_to_depth(time_first(truth, weight), self.patch_size).chunk(horizon)
        states = []
        for layer in self.layers:
            x, state = layer(x, length)
            states.append(state)
        frames = [self.output(x)]
        y = frames[0][-N:]
        for t in range(horizon - 1):
            x = y if true is None or mask is None else torch.where(mask[:, t, None, None, None] != 0, true[t], y)
            for n, layer in enumerate(self.layers):
                x, states[n] = layer(x, 1, states[n])
            y = self.output(x)
            frames.append(y)
        return batch_first(depth_to_space(torch.cat(frames), self.patch_size), length + horizon - 1)


class SpatioTemporalCell(nn.Module):
    """PredRNN's cell without biases, with the weights of convlstm.architectures.st_lstm.STLSTMCell."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, forget_bias: float):
        super().__init__()
        O, k = out_channels, kernel_size
        self.Wx = nn.Parameter(torch.empty(7 * O, in_channels, k, k))
        self.Wh = nn.Parameter(torch.empty(4 * O, O, k, k))
        self.Wm = nn.Parameter(torch.empty(3 * O, O, k, k))
        self.Wo = nn.Parameter(torch.empty(O, 2 * O, k, k))
        self.W1 = nn.Parameter(torch.empty(O, 2 * O, 1, 1))
        self.padding, self.forget_bias = k // 2, forget_bias

    def forward(self, x: Tensor, h: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the next h, c and m."""
        xi, xf, xg, xi_m, xf_m, xg_m, xo = conv2d(x, self.Wx, padding=self.padding).chunk(7, dim=1)
        hi, hf, hg, ho = conv2d(h, self.Wh, padding=self.padding).chunk(4, dim=1)
        mi, mf, mg = conv2d(m, self.Wm, padding=self.padding).chunk(3, dim=1)
        c = torch.sigmoid(xf + hf + self.forget_bias) * c + torch.sigmoid(xi + hi) * torch.tanh(xg + hg)
        m = torch.sigmoid(xf_m + mf + self.forget_bias) * m + torch.sigmoid(xi_m + mi) * torch.tanh(xg_m + mg)
        both = torch.cat([c, m], dim=1)
        o = torch.sigmoid(xo + ho + conv2d(both, self.Wo, padding=self.padding))
        return o * torch.tanh(conv2d(both, self.W1)), c, m


class PredRNN(nn.Module):
    """convlstm.architectures.predrnn.PredRNN."""

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: Sequence[int] = (128, 128, 128, 128),
        kernel_size: int = 5,
        patch_size: int = 4,
        forget_bias: float = 1.0,
    ):
        super().__init__()
        self.patch_size, channels, O = patch_size, in_channels * patch_size**2, hidden_channels[0]
        self.cells = nn.ModuleList(
            SpatioTemporalCell(O if n else channels, O, kernel_size, forget_bias) for n in range(len(hidden_channels))
        )
        self.output = nn.Conv2d(O, channels, 1, bias=False)

    def forward(self, inputs: Tensor, horizon: int, truth: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Returns predictions of all next frames, (N, T_in + horizon - 1, C, H, W)."""
        length, weight = inputs.shape[1], self.cells[0].Wh
        x = space_to_depth(time_first(inputs, weight), self.patch_size).chunk(length)
        true = None if truth is None else space_to_depth(time_first(truth, weight), self.patch_size).chunk(horizon)
        m = x[0].new_zeros(x[0].shape[0], weight.shape[1], *x[0].shape[2:]).contiguous(memory_format=layout(weight))
        h, c = [m] * len(self.cells), [m] * len(self.cells)
        frames: list[Tensor] = []
        for t in range(length + horizon - 1):
            if t < length:
                z = x[t]
            elif true is None or mask is None:
                z = frames[-1]
            else:
                z = torch.where(mask[:, t - length, None, None, None] != 0, true[t - length], frames[-1])
            for n, cell in enumerate(self.cells):
                z, c[n], m = cell(z, h[n], c[n], m)
                h[n] = z
            frames.append(self.output(z))
        return batch_first(depth_to_space(torch.cat(frames), self.patch_size), length + horizon - 1)
