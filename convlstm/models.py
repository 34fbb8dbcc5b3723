"""The encoder-forecaster: recurrent layers read the past, and their final states start the layers that forecast."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from convlstm.architectures.convgru import ConvGRU, ConvGRUCell
from convlstm.architectures.input_frames import (
    check_channels,
    check_frames,
    check_layer_options,
    depth_to_space,
    space_to_depth,
)
from convlstm.architectures.resample import Resample
from convlstm.architectures.trajgru import TrajGRU, TrajGRUCell
from convlstm.arguments import check_flags, check_number, check_whole, check_wholes
from convlstm.layers import ConvLSTM, ConvLSTMCell
from convlstm.ops.circular import is_circular
from convlstm.ops.convolution import Pair

import mlx.core as mx
import mlx.nn as nn

ACTIVATIONS = {"sigmoid": mx.sigmoid, "linear": lambda x: x}
# The layer of each kind, and the cell that takes the layer's other arguments.
CELLS = {
    "convlstm": (ConvLSTM, ConvLSTMCell),
    "convgru": (ConvGRU, ConvGRUCell),
    "trajgru": (TrajGRU, TrajGRUCell),
}


class EncoderForecaster(nn.Module):
    """An encoder-forecaster of ConvLSTM, ConvGRU or TrajGRU layers.

    The encoder's layers read the input frames, from the finest level to the coarsest. Each layer's final state starts
    the forecaster's layer of the same level. The forecaster's layers run from the coarsest level, which has no input,
    to the finest, for as many steps as the horizon has. So the model needs no ground truth and forecasts any horizon.

    With a `patch_size` and no resampling it is the network of Shi et al., 2015; with `downsample` and `upsample` that
    of Shi et al., 2017.

    Args:
        in_channels: Channels of the input frames. Default: 1.
        out_channels: Channels of the forecast frames. Default: `in_channels`.
        hidden_channels: Channels of the recurrent layers, one number per level, finest first. Default: (64, 64).
        cell: The recurrent layers: 'convlstm', 'convgru' or 'trajgru'. Default: 'convlstm'.
        kernel_size: Kernel of the layers, odd; an int, or a list with one entry per level. Default: 5.
        recurrent_kernel_size: Kernel of the hidden states' convolutions, in the same form; not for TrajGRU. Default:
            `kernel_size`.
        links: Flows of the TrajGRU layers, in the same form; None for other cells. Default: that of `TrajGRUCell`.
        patch_size: Side of the square patches that become channels before the first level. Default: 1, none.
        downsample: Convolutions before the encoder's layers, finest first: a list with a mapping (`channels`,
            `kernel_size`, `stride`, `padding`) or None per level. Default: none.
        upsample: Transposed convolutions after the forecaster's layers, in the same form, also **finest first**.
        concatenate: If True, the output sees the hidden states of all levels (2015), else of the finest only (2017).
            Default: False. With resampling it must be False.
        head_channels: Channels of 3x3 convolutions, each with a leaky ReLU, before the final 1x1 convolution. Default:
            none.
        activation: Activation of the forecast: 'sigmoid' keeps it within 0 and 1, 'linear' is none. Default: 'sigmoid'.
        next_frame_weight: Weight of a second term of the training loss: the loss of the next input frame, which the
            encoder predicts at every step with the forecaster's output layers. It gives the encoder a short path for
            its gradient. Without it, training from scratch forecasts only blurs for a long time. Default: 0.
        output_mean: Mean value of the data, to which the output's bias is set, so that training need not learn it.
            Default: none, a bias of 0.
        padding: None, zeros around the frames, or 'circular' for frames whose columns go round the earth. The strides
            must then divide the width. Default: None.
        **layer: The other arguments of the layers: `bias`, `dropout`, ConvLSTM's `peepholes`, GRUs' `state_activation`,
            ... None is the layers' own default.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.
        TypeError: The layers have no argument of that name.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = None,
        hidden_channels: Sequence[int] = (64, 64),
        *,
        cell: str = "convlstm",
        kernel_size: int | Sequence[int | Pair] = 5,
        recurrent_kernel_size: int | Sequence[int | Pair] | None = None,
        links: int | Sequence[int] | None = None,
        patch_size: int = 1,
        downsample: Sequence[Mapping | None] | None = None,
        upsample: Sequence[Mapping | None] | None = None,
        concatenate: bool = False,
        head_channels: Sequence[int] = (),
        activation: str = "sigmoid",
        next_frame_weight: float = 0.0,
        output_mean: float | None = None,
        padding: str | None = None,
        **layer,
    ):
        super().__init__()
        if not hidden_channels:
            raise ValueError("[EncoderForecaster] 'hidden_channels' must name at least one level but got none.")
        for name, value, choices in (("activation", activation, ACTIVATIONS), ("cell", cell, CELLS)):
            if not isinstance(value, str) or value not in choices:
                raise ValueError(f"[EncoderForecaster] '{name}' must be one of {', '.join(choices)} but got {value!r}.")
        layer = {name: value for name, value in layer.items() if value is not None}
        check_layer_options("EncoderForecaster", layer, patch_size)
        out_channels = in_channels if out_channels is None else out_channels
        check_channels("EncoderForecaster", in_channels, hidden_channels, patch_size)
        check_whole("EncoderForecaster", "out_channels", out_channels)
        check_wholes("EncoderForecaster", "head_channels", head_channels)
        check_flags("EncoderForecaster", concatenate=concatenate)
        next_frame_weight = check_number("EncoderForecaster", "next_frame_weight", next_frame_weight)
        levels = len(hidden_channels)
        given = {"kernel_size": kernel_size, "recurrent_kernel_size": recurrent_kernel_size, "links": links}
        of_level = {name: self._per_level(name, value, levels) for name, value in given.items() if value is not None}
        _check_options(cell, [*of_level, *layer, *([] if padding is None else ["padding"])])
        downs = self._per_level("downsample", downsample, levels)
        ups = self._per_level("upsample", upsample, levels)
        for down, up in zip(downs, ups, strict=True):
            _channels(1, down), _channels(1, up)  # refuse what is no entry
        if concatenate and (any(downs) or any(ups)):
            raise ValueError("[EncoderForecaster] 'concatenate' needs all levels on one grid, but there is resampling.")
        self.circular = is_circular("EncoderForecaster", padding)
        layer |= {} if padding is None else {"padding": padding}
        if next_frame_weight < 0 or (next_frame_weight > 0 and in_channels != out_channels):
            raise ValueError(
                f"[EncoderForecaster] 'next_frame_weight' must be at least 0, and 0 if input and output have "
                f"different channels ({in_channels} and {out_channels}), but got {next_frame_weight}."
            )
        self.next_frame_weight = next_frame_weight
        self.in_channels, self.out_channels, self.patch_size = in_channels, out_channels, patch_size
        self.concatenate, self.activation = concatenate, activation

        Layer, channels = CELLS[cell][0], in_channels * patch_size**2
        self.encoder, self.downsample = [], []
        self.forecaster, self.upsample = [], []
        for n, hidden in enumerate(hidden_channels):
            layer |= {name: values[n] for name, values in of_level.items()}
            self.encoder.append(Layer(_channels(channels, downs[n]), hidden, **layer))
            self.downsample.append(_resample(channels, downs[n], circular=self.circular))
            channels = hidden
            above = 0 if n + 1 == levels else _channels(hidden_channels[n + 1], ups[n + 1])
            self.forecaster.append(Layer(above, hidden, **layer))
            self.upsample.append(_resample(hidden, ups[n], up=True, circular=self.circular))

        channels = sum(hidden_channels) if concatenate else _channels(hidden_channels[0], ups[0])
        self.head = []
        for width in head_channels:
            self.head.append(Resample(channels, width, 3, padding=1, circular=self.circular))
            channels = width
        self.output = nn.Conv2d(channels, out_channels * patch_size**2, 1)
        if output_mean is not None:
            output_mean = check_number("EncoderForecaster", "output_mean", output_mean)
            self.output.bias = mx.full(self.output.bias.shape, _inverse(activation, output_mean))

    @staticmethod
    def _per_level(name: str, value, levels: int) -> list:
        values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * levels
        if len(values) != levels:
            raise ValueError(
                f"[EncoderForecaster] '{name}' must have one entry for each of the {levels} levels of "
                f"'hidden_channels' but got {len(values)}."
            )
        return values

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the frames' channels or size, or the horizon, do not fit the model."""
        size = check_frames("EncoderForecaster", inputs, horizon, self.in_channels, self.patch_size)
        frame = inputs.shape[2:4]
        for n, (encoder, down, up) in enumerate(zip(self.encoder, self.downsample, self.upsample, strict=True)):
            before = size
            size = down.output_size(size) if isinstance(down, Resample) else size
            size = encoder.cell.output_size(*size)
            after = up.output_size(size) if isinstance(up, Resample) else size
            if after != before:
                raise ValueError(
                    f"[EncoderForecaster] frames of {frame[0]}x{frame[1]} change their size at level {n}: "
                    f"{before[0]}x{before[1]} becomes {size[0]}x{size[1]} on the way down and {after[0]}x{after[1]} on "
                    "the way up. Pad or crop the frames so that every stride divides them, or change 'downsample' and "
                    "'upsample'."
                )

    def encode(self, inputs: mx.array, key: mx.array | None = None) -> tuple[list[Any], list[mx.array]]:
        """Returns the final state and the hidden states (N, T_in, H', W', O) of each level, finest first."""
        x = space_to_depth(inputs, self.patch_size)
        states, hidden = [], []
        for down, layer, k in zip(self.downsample, self.encoder, self._keys(key), strict=True):
            x, state = layer(down(x), key=k)
            states.append(state)
            hidden.append(x)
        return states, hidden

    def unroll(self, states: list[Any], horizon: int, key: mx.array | None = None) -> list[mx.array]:
        """Returns the forecaster's hidden states (N, horizon, ...), after upsampling, of each level, finest first."""
        x: mx.array | None = None
        hidden: list[mx.array] = []
        levels = list(zip(self.forecaster, self.upsample, states, self._keys(key), strict=True))
        for layer, up, state, k in reversed(levels):
            x, _ = layer(x, state, length=horizon, key=k)
            x = up(x)
            hidden.insert(0, x)
        return hidden

    def predict(self, hidden: list[mx.array]) -> mx.array:
        """Returns frames (N, T, H, W, C_out), before the activation, from the levels' hidden states."""
        hidden = hidden if self.concatenate else hidden[:1]
        for layer in self.head:
            hidden = [layer(mx.concatenate(hidden, axis=-1) if len(hidden) > 1 else hidden[0])]
        # A product for each level saves the memory of their concatenation.
        ends = list(accumulate(h.shape[-1] for h in hidden))
        weights = mx.split(self.output.weight[:, 0, 0], ends[:-1], axis=-1)
        y = sum((h @ w.T for h, w in zip(hidden, weights, strict=True)), self.output.bias)
        return depth_to_space(y, self.patch_size)

    def _keys(self, key: mx.array | None) -> list:
        levels = len(self.encoder)
        return [None] * levels if key is None else list(mx.random.split(key, levels))

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns a forecast of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, C_in).
            horizon: Number of frames to forecast.
            key: Key of the dropout masks in training; None draws from MLX's global state.

        Returns:
            (N, horizon, H, W, C_out).
        """
        return self._forecast(inputs, horizon, key)[0]

    def training_loss(
        self,
        loss: Callable[..., mx.array],
        inputs: mx.array,
        targets: mx.array,
        mask: mx.array | None,
        key: mx.array,
        *,
        input_mask: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Returns the training loss, and the loss of the forecast alone.

        The training loss also has `next_frame_weight` times the loss of the encoder's predictions of the inputs.

        Args:
            loss: Called as `loss(forecast, targets, mask)`.
            inputs, targets: (N, T_in, H, W, C_in) and (N, T_out, H, W, C_out).
            mask: Nonzero for known targets; None if all are known.
            key: Key of the dropout masks.
            input_mask: Nonzero for known inputs. Predictions of other inputs have no loss. Default: all are known.
        """
        forecast, hidden = self._forecast(inputs, targets.shape[1], key)
        value = loss(forecast, targets, mask)
        if self.next_frame_weight == 0 or inputs.shape[1] < 2:
            return value, value
        hidden = [up(h[:, :-1]) for up, h in zip(self.upsample, hidden, strict=True)]
        next_frames = ACTIVATIONS[self.activation](self.predict(hidden))
        known = None if input_mask is None else mx.broadcast_to(input_mask, inputs.shape)[:, 1:]
        return value + self.next_frame_weight * loss(next_frames, inputs[:, 1:], known), value

    def _forecast(self, inputs: mx.array, horizon: int, key: mx.array | None) -> tuple[mx.array, list[mx.array]]:
        self.check_input(inputs, horizon)
        key, forecaster_key = (None, None) if key is None else mx.random.split(key)
        states, hidden = self.encode(inputs, key)
        forecast = self.predict(self.unroll(states, horizon, forecaster_key))
        return ACTIVATIONS[self.activation](forecast), hidden


def _check_options(cell: str, options: Iterable[str]) -> None:
    """Raises TypeError if neither the layer nor its cell has one of these arguments."""
    arguments = {name for part in CELLS[cell] for name in inspect.signature(part).parameters}
    if unknown := [f"'{name}'" for name in options if name not in arguments]:
        raise TypeError(
            f"[EncoderForecaster] cell={cell!r} has layers without {', '.join(unknown)}: leave that out, or choose the "
            "'cell' that has it."
        )


def _channels(channels: int, resample: Mapping | None) -> int:
    """Returns the channels after an entry of 'downsample' or 'upsample'; raises ValueError if it is not valid."""
    if resample is not None and (not isinstance(resample, Mapping) or not {"channels", "kernel_size"} <= set(resample)):
        raise ValueError(
            f"[EncoderForecaster] an entry of 'downsample' or 'upsample' needs 'channels' and 'kernel_size' but got "
            f"{dict(resample) if isinstance(resample, Mapping) else resample!r}."
        )
    if resample is None:
        return channels
    return check_whole("EncoderForecaster", "channels", resample["channels"])


def _resample(channels: int, resample: Mapping | None, *, up: bool = False, circular: bool) -> nn.Module:
    if resample is None:
        return nn.Identity()
    try:
        return Resample(channels, up=up, circular=circular, **resample)
    except (TypeError, ValueError) as error:
        name = "upsample" if up else "downsample"
        raise ValueError(f"[EncoderForecaster] '{name}' has an entry {dict(resample)}: {error}") from error


def _inverse(activation: str, mean: float) -> float:
    """Returns the value that an activation turns into a mean."""
    if activation == "linear":
        return mean
    if not 0 < mean < 1:
        raise ValueError(f"[EncoderForecaster] 'output_mean' must be between 0 and 1 for a sigmoid but got {mean}.")
    return math.log(mean / (1 - mean))
