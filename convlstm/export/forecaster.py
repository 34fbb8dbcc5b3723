"""An encoder-forecaster of ConvLSTM or ConvGRU layers in plain PyTorch, with weights that convlstm has trained.

`convlstm export` writes this file beside the weights. It needs PyTorch and safetensors, not MLX, not convlstm:

    import torch
    from forecaster import load

    model = load()                      # of the folder of this file
    forecast = model(frames, 10)        # (N, T, C, H, W) -> (N, 10, C, H, W)

Frames are on the model's scale, from 0 to 1, as in training; `settings.json` says what 0 and 1 stand for ("data"), and
with how many frames the model has been trained. Horizon, height and width are free, if the patch and the strides divide
the sides.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda x: (x / 6 + 0.5).clamp(0, 1),
    "hard_sigmoid_keras2": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "hard_tanh": lambda x: x.clamp(-1, 1),
    "relu": torch.relu,
    "softsign": F.softsign,
    "linear": lambda x: x,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
}


def load(folder: str | Path | None = None) -> EncoderForecaster:
    """Returns the exported model, ready to forecast. Default: that of the folder of this file."""
    from safetensors.torch import load_file

    folder = Path(__file__).parent if folder is None else Path(folder)
    model = EncoderForecaster(json.loads((folder / "settings.json").read_text(encoding="utf-8"))["model"])
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model.eval()


class EncoderForecaster(nn.Module):
    """Layers read the frames; their final states start the layers that forecast. Lists have the finest level first."""

    def __init__(self, settings: dict):
        super().__init__()
        self.patch, self.concatenate = settings["patch_size"], settings["concatenate"]
        self.activation = ACTIVATIONS[settings["activation"]]
        cells = {"convlstm": ConvLSTMCell, "convgru": ConvGRUCell}
        for name in ("encoder", "forecaster"):
            self.add_module(name, nn.ModuleList(Layer(cells[settings["cell"]], one) for one in settings[name]))
        for name in ("downsample", "upsample", "head"):
            parts = (nn.Identity() if one is None else Resample(one) for one in settings[name])
            self.add_module(name, nn.ModuleList(parts))
        self.output = nn.Conv2d(*settings["output"], 1)

    def forward(self, frames: torch.Tensor, horizon: int) -> torch.Tensor:
        """Returns the forecast of the frames after these, (N, T, C, H, W) -> (N, horizon, C, H, W)."""
        steps: list = [to_patches(frame, self.patch) for frame in frames.unbind(1)]
        states = []
        for down, layer in zip(self.downsample, self.encoder, strict=True):
            steps, state = layer([down(x) for x in steps], None)
            states.append(state)
        steps = [None] * horizon
        hidden: list = []
        for up, layer, state in reversed(list(zip(self.upsample, self.forecaster, states, strict=True))):
            steps, _ = layer(steps, state)
            steps = [up(x) for x in steps]
            hidden.insert(0, steps)
        levels = hidden if self.concatenate else hidden[:1]
        return torch.stack([self.frame(torch.cat(parts, 1)) for parts in zip(*levels, strict=True)], 1)

    def frame(self, x: torch.Tensor) -> torch.Tensor:
        """Returns a frame from hidden states."""
        for layer in self.head:
            x = layer(x)
        return self.activation(to_pixels(self.output(x), self.patch))


def to_patches(x: torch.Tensor, side: int) -> torch.Tensor:
    """Returns patches as channels, (N, C, H, W) -> (N, side * side * C, H / side, W / side): row, column, channel."""
    N, C, H, W = x.shape
    x = x.reshape(N, C, H // side, side, W // side, side)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(N, side * side * C, H // side, W // side)


def to_pixels(x: torch.Tensor, side: int) -> torch.Tensor:
    """Returns the inverse of `to_patches`."""
    N, channels, H, W = x.shape
    x = x.reshape(N, side, side, channels // side**2, H, W)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(N, -1, H * side, W * side)


class Layer(nn.Module):
    """A cell over time."""

    def __init__(self, cell: type[nn.Module], settings: dict):
        super().__init__()
        self.cell = cell(settings)

    def forward(self, steps: list, state):
        outputs = []
        for x in steps:
            h, state = self.cell(x, state)
            outputs.append(h)
        return outputs, state


class Cell(nn.Module):
    """The convolutions of the input and of the hidden state, which keep the grid."""

    def __init__(self, settings: dict):
        super().__init__()
        self.state_activation = ACTIVATIONS[settings["state_activation"]]
        self.recurrent_activation = ACTIVATIONS[settings["recurrent_activation"]]
        for name, shape in settings["weights"].items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def convolved(self, x: torch.Tensor, name: str, bias: str) -> torch.Tensor:
        weight = getattr(self, name)
        return F.conv2d(x, weight, getattr(self, bias, None), padding=[side // 2 for side in weight.shape[2:]])


class ConvLSTMCell(Cell):
    def forward(self, x, state):
        O = self.Wh.shape[1]
        if state is None:
            zeros = x.new_zeros(x.shape[0], O, *x.shape[2:])
            state = (zeros, zeros)
        h, c = state
        z = self.convolved(h, "Wh", "bias")
        i, f, g, o = (z if x is None else z + self.convolved(x, "Wx", "")).split(O, 1)
        i, f = (i + self.Wci * c, f + self.Wcf * c) if hasattr(self, "Wci") else (i, f)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.state_activation(g)
        o = o + self.Wco * c if hasattr(self, "Wco") else o
        h = self.recurrent_activation(o) * self.state_activation(c)
        return h, (h, c)


class ConvGRUCell(Cell):
    def forward(self, x, h):
        O = self.Wh.shape[1]
        h = x.new_zeros(x.shape[0], O, *x.shape[2:]) if h is None else h
        yz, yr, yh = self.convolved(h, "Wh", "bh").split(O, 1)
        xz, xr, xh = (0, 0, 0) if x is None else self.convolved(x, "Wx", "bx").split(O, 1)
        z, r = torch.sigmoid(xz + yz), torch.sigmoid(xr + yr)
        h = (1 - z) * self.state_activation(xh + r * yh) + z * h
        return h, h


class Resample(nn.Module):
    """A convolution, strided or transposed, with a leaky ReLU."""

    def __init__(self, settings: dict):
        super().__init__()
        conv = nn.ConvTranspose2d if settings["up"] else nn.Conv2d
        sizes = {name: tuple(settings[name]) for name in ("kernel_size", "stride", "padding")}
        self.conv = conv(*settings["channels"], **sizes, bias=settings["bias"])
        self.slope = settings["negative_slope"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.conv(x), self.slope)
