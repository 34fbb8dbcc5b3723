"""SimVP: convolutions that read all input frames at once and return all forecast frames at once."""

from __future__ import annotations

from itertools import pairwise

from convlstm.architectures.input_frames import check_frames
from convlstm.architectures.simvp_translators import TRANSLATORS
from convlstm.arguments import check_whole
from convlstm.ops.circular import is_circular
from convlstm.ops.convolution import conv2d
from convlstm.ops.norms import group_norm

import mlx.core as mx
import mlx.nn as nn


class ConvBlock(nn.Module):
    """A convolution, group normalisation with two groups, and SiLU: (N, H, W, C) -> (N, H', W', O).

    If it doubles the grid, the convolution's channel 4 c + 2 row + column is channel c of pixel (row, column), in
    PyTorch's order.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels O of the output.
        kernel_size: Kernel of the convolution, odd. Default: 3.
        down: If True, a stride of 2 halves the grid. Default: False.
        up: If True, the convolution has 4 O channels, which become 2 x 2 pixels: the grid doubles. Default: False.
        circular: If True, the columns go round. Default: False.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        down: bool = False,
        up: bool = False,
        circular: bool = False,
    ):
        super().__init__()
        self.stride, self.up, self.circular = 2 if down else 1, up, circular
        padding = (kernel_size - self.stride + 1) // 2
        channels = 4 * out_channels if up else out_channels
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, stride=self.stride, padding=padding)
        # As in OpenSTL. The norm that follows sets the scale, whatever the size of the weights.
        self.conv.weight = mx.random.normal(self.conv.weight.shape, scale=0.02)
        self.norm = nn.GroupNorm(2, out_channels, pytorch_compatible=True)

    def __call__(self, x: mx.array) -> mx.array:
        weight, bias = self.conv.weight, self.conv.bias
        if self.up:  # puts the channels into the order of `pixels`, which then moves whole rows of channels
            weight, bias = (a.reshape(-1, 4, *a.shape[1:]).swapaxes(0, 1).reshape(a.shape) for a in (weight, bias))
        y = conv2d(x, weight, (self.stride, self.stride), self.conv.padding, circular=self.circular)
        if self.up:
            y, bias = pixels(y + bias), mx.zeros(y.shape[-1] // 4)
        return group_norm(
            y, bias, self.norm.weight, self.norm.bias, self.norm.num_groups, "silu", epsilon=self.norm.eps
        )


def pixels(x: mx.array) -> mx.array:
    """Returns four times C channels, in the order 2 x 2 x C, as 2 x 2 pixels: (N, H, W, 4C) -> (N, 2H, 2W, C)."""
    N, H, W, channels = x.shape
    x = x.reshape(N, H, W, 2, 2, channels // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(N, 2 * H, 2 * W, channels // 4)


class SimVP(nn.Module):
    r"""SimVP: an encoder of single frames, a translator of all frames, and a decoder of single frames.

        s_t, z_t = encoder(x_t)                    every second of its `levels` convolutions halves the grid
        (z'_1 ... z'_T) = translator(z_1 ... z_T)  its channels are the frames and their channels
        y_t = W * decoder(z'_t, s_t)               every second of its convolutions doubles the grid; s_t is added
                                                   before the last

    It forecasts as many frames as it reads, `frames`. A longer horizon is forecast from its own forecasts, a shorter
    one is their beginning. Weights start as in OpenSTL. OpenSTL's stochastic depth is left out: there, in training, a
    sequence skips each half of the first block of 'gsta' with probability 0.01, and the halves of later blocks with
    less, down to 0. (OpenSTL's option `drop_path = 0` does not turn this off.)

    Args:
        in_channels: Channels of the frames, in and out. Default: 1.
        frames: Frames that it reads and forecasts at once; longer inputs are cut to their last frames. Default: 10.
        hidden_channels: Channels of the encoder and the decoder. Default: 64.
        translator_channels: Channels of the translator. Default: 512.
        levels: Convolutions of the encoder, and of the decoder; even. Default: 4, for frames whose sides are multiples
            of 4.
        blocks: Blocks of the translator. Default: 8.
        kernel_size: Kernel of the encoder and the decoder, odd. Default: 3.
        translator: 'gsta', gated spatiotemporal attention, or 'incepu', inceptions in the form of a U.
            Default: 'gsta'.
        padding: None, zeros around the frames, or 'circular' for frames whose columns go round the earth. Default:
            None.
        recompute: If True, the gradient computes the values between the translator's norms again instead of keeping
            them: less memory, more time. Default: False.
        **options: Other arguments of the translator: `mlp_ratio` (8) and `large_kernel` (21) of 'gsta'; `kernel_sizes`
            (3, 5, 7, 11) and `groups` (8) of 'incepu'.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Gao et al., SimVP: Simpler yet Better Video Prediction, 2022, for 'incepu'; Tan et al., SimVPv2: Towards
    Simple yet Powerful Spatiotemporal Predictive Learning, 2022, for 'gsta'; OpenSTL, 2023, for this form of both.
    """

    def __init__(
        self,
        in_channels: int = 1,
        frames: int = 10,
        hidden_channels: int = 64,
        *,
        translator_channels: int = 512,
        levels: int = 4,
        blocks: int = 8,
        kernel_size: int = 3,
        translator: str = "gsta",
        padding: str | None = None,
        recompute: bool = False,
        **options,
    ):
        super().__init__()
        numbers = {"in_channels": in_channels, "frames": frames, "hidden_channels": hidden_channels}
        numbers |= {"translator_channels": translator_channels, "levels": levels}
        for name, value in numbers.items():
            check_whole("SimVP", name, value)
        for name, value in (("levels", levels), ("hidden_channels", hidden_channels)):
            if value % 2:
                raise ValueError(f"[SimVP] '{name}' must be even but got {value}.")
        if type(kernel_size) is not int or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"[SimVP] 'kernel_size' must be odd but got {kernel_size!r}.")
        check_whole("SimVP", "blocks", blocks, 2)  # one in and one out
        if not isinstance(translator, str) or translator not in TRANSLATORS:
            raise ValueError(f"[SimVP] 'translator' must be one of {', '.join(TRANSLATORS)} but got {translator!r}.")
        self.in_channels, self.frames, self.multiple = in_channels, frames, 2 ** (levels // 2)
        self.circular = circular = is_circular("SimVP", padding)
        halves = [n % 2 == 1 for n in range(levels)]
        sizes = [in_channels] + [hidden_channels] * levels
        self.encoder = [
            ConvBlock(C, O, kernel_size, down=d, circular=circular)
            for (C, O), d in zip(pairwise(sizes), halves, strict=True)
        ]
        self.translator = TRANSLATORS[translator](
            frames * hidden_channels, translator_channels, blocks, circular=circular, recompute=recompute, **options
        )
        self.decoder = [
            ConvBlock(hidden_channels, hidden_channels, kernel_size, up=u, circular=circular) for u in reversed(halves)
        ]
        self.output = nn.Conv2d(hidden_channels, in_channels, 1)

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the frames' channels, number or size, or the horizon, do not fit the model."""
        check_frames("SimVP", inputs, horizon, self.in_channels, 1)
        T, H, W = inputs.shape[1:4]
        if self.frames > T:
            raise ValueError(
                f"[SimVP] expected at least {self.frames} input frames ('frames') but got {T}. Give more frames, or "
                "train a model that reads fewer."
            )
        if H % self.multiple or W % self.multiple:
            raise ValueError(
                f"[SimVP] frames of {H}x{W} cannot be halved {self.multiple.bit_length() - 1} times: height and width "
                f"must be multiples of {self.multiple}. Pad or crop the frames, or choose other 'levels'."
            )

    def step(self, frames: mx.array) -> mx.array:
        """Returns the next frames after as many as the model reads: (N, frames, H, W, C) -> (N, frames, H, W, C)."""
        N, T, H, W, C = frames.shape
        x = frames.reshape(N * T, H, W, C)
        skip = x = self.encoder[0](x)
        for block in self.encoder[1:]:
            x = block(x)
        _, h, w, channels = x.shape
        # Frame by frame: channel c of frame t becomes channel t * channels + c.
        x = x.reshape(N, T, h, w, channels).transpose(0, 2, 3, 1, 4).reshape(N, h, w, T * channels)
        x = self.translator(x)
        x = x.reshape(N, h, w, T, channels).transpose(0, 3, 1, 2, 4).reshape(N * T, h, w, channels)
        for block in self.decoder[:-1]:
            x = block(x)
        y = self.decoder[-1](x + skip) @ self.output.weight[:, 0, 0].T + self.output.bias
        return y.reshape(N, T, H, W, C)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns a forecast of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, C), T_in at least `frames`.
            horizon: Number of frames to forecast.
            key: Not used.

        Returns:
            (N, horizon, H, W, C).
        """
        self.check_input(inputs, horizon)
        frames = inputs[:, -self.frames :]
        forecasts: list[mx.array] = []
        while len(forecasts) * self.frames < horizon:
            frames = self.step(frames)
            forecasts.append(frames)
        return mx.concatenate(forecasts, axis=1)[:, :horizon] if len(forecasts) > 1 else frames[:, :horizon]
