"""The encoder-forecaster: ConvLSTM layers that read the past, and ConvLSTM layers that their states start."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from convlstm.frames import check_frames, check_layer_options, depth_to_space, space_to_depth
from convlstm.layers import ConvLSTM, State
from convlstm.ops.convolution import Pair, conv2d, int_pair, output_size

import mlx.core as mx
import mlx.nn as nn

ACTIVATIONS = {"sigmoid": mx.sigmoid, "linear": lambda x: x}


class Resample(nn.Module):
    """A strided convolution, or a transposed one, over every frame of a sequence, with a leaky ReLU.

    (N, L, H, W, C) -> (N, L, H', W', O).

    Args:
        in_channels: C.
        channels: O.
        kernel_size, stride, padding: Of the convolution; an int or a pair. A transposed convolution undoes the size of
            the convolution with the same three where (size + 2 padding - kernel_size) is a multiple of the stride.
        up: Whether to transpose the convolution. Default: False.
        negative_slope: Slope of the leaky ReLU below zero. Default: 0.2, as in Shi et al., 2017.
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
    ):
        super().__init__()
        self.kernel_size = int_pair("Resample", "kernel_size", kernel_size, 1)
        self.stride = int_pair("Resample", "stride", stride, 1)
        self.padding = int_pair("Resample", "padding", padding, 0)
        self.up, self.negative_slope = up, negative_slope
        conv = nn.ConvTranspose2d if up else nn.Conv2d
        self.conv = conv(in_channels, channels, self.kernel_size, stride=self.stride, padding=self.padding)

    def output_size(self, size: Pair) -> Pair:
        """Height and width of the frames that come out for frames of `size`."""
        if not self.up:
            return output_size("Resample", size, self.kernel_size, self.stride, self.padding)
        height, width = (
            (length - 1) * s - 2 * p + k
            for length, k, s, p in zip(size, self.kernel_size, self.stride, self.padding, strict=True)
        )
        return height, width

    def __call__(self, x: mx.array) -> mx.array:
        N, L = x.shape[:2]
        x = x.reshape(N * L, *x.shape[2:])
        if self.up:
            y = self.conv(x)
        else:
            y = conv2d(x, self.conv.weight, self.stride, self.padding) + self.conv.bias
        return nn.leaky_relu(y, self.negative_slope).reshape(N, L, *y.shape[1:])


class EncoderForecaster(nn.Module):
    """A ConvLSTM encoder-forecaster.

    The encoder's layers read the input frames, from the finest level to the coarsest. Each layer's final state starts
    the forecaster's layer of the same level; the forecaster walks from the coarsest level, which has no input, to the
    finest, for as many steps as are asked for, so it needs no ground truth and forecasts any horizon.

    With a `patch_size` and no resampling it is the network of Shi et al., 2015; with `downsample` and `upsample` that
    of Shi et al., 2017.

    Args:
        in_channels: Channels of the input frames. Default: 1.
        out_channels: Channels of the forecast frames. Default: `in_channels`.
        hidden_channels: Channels of the ConvLSTM layers, one number a level, finest first.
        kernel_size: Kernel of the ConvLSTM layers, odd; an int, or a list with one entry a level. Default: 5.
        recurrent_kernel_size: Kernel of the hidden states' convolutions, likewise. Default: `kernel_size`.
        patch_size: Side of the square patches that become channels before the first level. Default: 1, none.
        downsample: A convolution before the encoder's layer of each level, finest first: a list with one mapping
            (`channels`, `kernel_size`, `stride`, `padding`) or None a level. Default: none.
        upsample: A transposed convolution after the forecaster's layer of each level, likewise **finest first**.
        concatenate: Whether the output sees the hidden states of all levels (2015) or of the finest only (2017).
            Default: False. With resampling it must be False.
        head_channels: Channels of 3x3 convolutions, each with a leaky ReLU, before the final 1x1 convolution. Default:
            none.
        activation: Of the forecast: 'sigmoid' keeps it within 0 and 1, 'linear' is none. Default: 'sigmoid'.
        next_frame_weight: Weight of a second term of the training loss: that of the next input frame, which the encoder
            predicts at every step with the forecaster's output layers. It brings the gradient to the encoder on a short
            way, which spares a training from scratch the long start in which forecasts are only blurs. Default: 0.
        output_mean: Mean value of the data, which the output's bias starts at, so that training does not begin with
            learning it. Default: none, a bias of 0.
        **layer: The other arguments of the ConvLSTM layers (`peepholes`, `bias`, `forget_bias`, `dropout`, ...).

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = None,
        hidden_channels: Sequence[int] = (64, 64),
        *,
        kernel_size: int | Sequence[int | Pair] = 5,
        recurrent_kernel_size: int | Sequence[int | Pair] | None = None,
        patch_size: int = 1,
        downsample: Sequence[Mapping | None] | None = None,
        upsample: Sequence[Mapping | None] | None = None,
        concatenate: bool = False,
        head_channels: Sequence[int] = (),
        activation: str = "sigmoid",
        next_frame_weight: float = 0.0,
        output_mean: float | None = None,
        **layer,
    ):
        super().__init__()
        if not hidden_channels:
            raise ValueError("[EncoderForecaster] 'hidden_channels' must name at least one level but got none.")
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"[EncoderForecaster] 'activation' must be one of {', '.join(ACTIVATIONS)} but got {activation!r}."
            )
        check_layer_options("EncoderForecaster", layer, patch_size)
        levels = len(hidden_channels)
        kernels = self._per_level("kernel_size", kernel_size, levels)
        recurrent = self._per_level("recurrent_kernel_size", recurrent_kernel_size, levels)
        downs = self._per_level("downsample", downsample, levels)
        ups = self._per_level("upsample", upsample, levels)
        if concatenate and (any(downs) or any(ups)):
            raise ValueError("[EncoderForecaster] 'concatenate' needs all levels on one grid, but there is resampling.")

        out_channels = in_channels if out_channels is None else out_channels
        if next_frame_weight < 0 or (next_frame_weight > 0 and in_channels != out_channels):
            raise ValueError(
                f"[EncoderForecaster] 'next_frame_weight' must be at least 0, and 0 where input and output have "
                f"different channels ({in_channels} and {out_channels}), but got {next_frame_weight}."
            )
        self.next_frame_weight = next_frame_weight
        self.in_channels, self.out_channels, self.patch_size = in_channels, out_channels, patch_size
        self.concatenate, self.activation = concatenate, activation

        channels = in_channels * patch_size**2
        self.encoder, self.downsample = [], []
        self.forecaster, self.upsample = [], []
        for n, hidden in enumerate(hidden_channels):
            layer |= {"kernel_size": kernels[n], "recurrent_kernel_size": recurrent[n]}
            self.encoder.append(ConvLSTM(_channels(channels, downs[n]), hidden, **layer))
            self.downsample.append(_resample(channels, downs[n]))
            channels = hidden
            above = 0 if n + 1 == levels else _channels(hidden_channels[n + 1], ups[n + 1])
            self.forecaster.append(ConvLSTM(above, hidden, **layer))
            self.upsample.append(_resample(hidden, ups[n], up=True))

        channels = sum(hidden_channels) if concatenate else _channels(hidden_channels[0], ups[0])
        self.head = []
        for width in head_channels:
            self.head.append(Resample(channels, width, 3, padding=1))
            channels = width
        self.output = nn.Conv2d(channels, out_channels * patch_size**2, 1)
        if output_mean is not None:
            self.output.bias = mx.full(self.output.bias.shape, _inverse(activation, output_mean))

    @staticmethod
    def _per_level(name: str, value, levels: int) -> list:
        values = [value] * levels if value is None or isinstance(value, int) else list(value)
        if len(values) != levels:
            raise ValueError(
                f"[EncoderForecaster] '{name}' must have one entry for each of the {levels} levels of "
                f"'hidden_channels' but got {len(values)}."
            )
        return values

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError where the frames' channels or size, or the horizon, do not fit the model."""
        frame = inputs.shape[2:4]
        size = check_frames("EncoderForecaster", inputs, horizon, self.in_channels, self.patch_size)
        for n, (encoder, down, up) in enumerate(zip(self.encoder, self.downsample, self.upsample, strict=True)):
            before = size
            size = down.output_size(size) if isinstance(down, Resample) else size
            size = encoder.cell.output_size(*size)
            after = up.output_size(size) if isinstance(up, Resample) else size
            if after != before:
                raise ValueError(
                    f"[EncoderForecaster] frames of {frame[0]}x{frame[1]} do not come back from level {n}: "
                    f"{before[0]}x{before[1]} becomes {size[0]}x{size[1]} on the way down and {after[0]}x{after[1]} on "
                    "the way up. Pad or crop the frames so that every stride divides them, or change 'downsample' and "
                    "'upsample'."
                )

    def encode(self, inputs: mx.array, key: mx.array | None = None) -> tuple[list[State], list[mx.array]]:
        """Final state and hidden states (N, T_in, H', W', O) of each level, finest first."""
        x = space_to_depth(inputs, self.patch_size)
        states, hidden = [], []
        for down, layer, k in zip(self.downsample, self.encoder, self._keys(key), strict=True):
            x, state = layer(down(x), key=k)
            states.append(state)
            hidden.append(x)
        return states, hidden

    def unroll(self, states: list[State], horizon: int, key: mx.array | None = None) -> list[mx.array]:
        """The forecaster's hidden states (N, horizon, ...), after up-sampling, of each level, finest first."""
        x: mx.array | None = None
        hidden: list[mx.array] = []
        levels = list(zip(self.forecaster, self.upsample, states, self._keys(key), strict=True))
        for layer, up, state, k in reversed(levels):
            x, _ = layer(x, state, length=horizon, key=k)
            x = up(x)
            hidden.insert(0, x)
        return hidden

    def predict(self, hidden: list[mx.array]) -> mx.array:
        """Frames (N, T, H, W, C_out), before the activation, from the levels' hidden states."""
        hidden = hidden if self.concatenate else hidden[:1]
        for layer in self.head:
            hidden = [layer(mx.concatenate(hidden, axis=-1) if len(hidden) > 1 else hidden[0])]
        # A product for each level, which spares the memory of their concatenation.
        ends = list(accumulate(h.shape[-1] for h in hidden))
        weights = mx.split(self.output.weight[:, 0, 0], ends[:-1], axis=-1)
        y = sum((h @ w.T for h, w in zip(hidden, weights, strict=True)), self.output.bias)
        return depth_to_space(y, self.patch_size)

    def _keys(self, key: mx.array | None) -> list:
        levels = len(self.encoder)
        return [None] * levels if key is None else list(mx.random.split(key, levels))

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Forecasts of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, C_in).
            horizon: Number of frames to forecast.
            key: Key of the dropout masks in training; None draws from MLX's global state.

        Returns:
            (N, horizon, H, W, C_out).
        """
        return self._forecast(inputs, horizon, key)[0]

    def training_loss(
        self, loss: Callable[..., mx.array], inputs: mx.array, targets: mx.array, mask: mx.array | None, key: mx.array
    ) -> tuple[mx.array, mx.array]:
        """What training minimises, and the forecast's share of it.

        That is the forecast's loss and, `next_frame_weight` times, the loss of the encoder's predictions of the inputs.

        Args:
            loss: Called as `loss(forecast, targets, mask)`.
            inputs, targets: (N, T_in, H, W, C_in) and (N, T_out, H, W, C_out).
            mask: Not zero where the targets are known; None: everywhere.
            key: Key of the dropout masks.
        """
        forecast, hidden = self._forecast(inputs, targets.shape[1], key)
        value = loss(forecast, targets, mask)
        if self.next_frame_weight == 0 or inputs.shape[1] < 2:
            return value, value
        hidden = [up(h[:, :-1]) for up, h in zip(self.upsample, hidden, strict=True)]
        next_frames = ACTIVATIONS[self.activation](self.predict(hidden))
        return value + self.next_frame_weight * loss(next_frames, inputs[:, 1:], None), value

    def _forecast(self, inputs: mx.array, horizon: int, key: mx.array | None) -> tuple[mx.array, list[mx.array]]:
        self.check_input(inputs, horizon)
        key, forecaster_key = (None, None) if key is None else mx.random.split(key)
        states, hidden = self.encode(inputs, key)
        forecast = self.predict(self.unroll(states, horizon, forecaster_key))
        return ACTIVATIONS[self.activation](forecast), hidden


def _channels(channels: int, resample: Mapping | None) -> int:
    if resample is not None and not {"channels", "kernel_size"} <= set(resample):
        raise ValueError(
            f"[EncoderForecaster] an entry of 'downsample' or 'upsample' needs 'channels' and 'kernel_size' but got "
            f"{dict(resample)}."
        )
    return channels if resample is None else resample["channels"]


def _resample(channels: int, resample: Mapping | None, up: bool = False) -> nn.Module:
    return nn.Identity() if resample is None else Resample(channels, up=up, **resample)


def _inverse(activation: str, mean: float) -> float:
    if activation == "linear":
        return mean
    if not 0 < mean < 1:
        raise ValueError(f"[EncoderForecaster] 'output_mean' must be between 0 and 1 for a sigmoid but got {mean}.")
    return math.log(mean / (1 - mean))
