"""The ConvLSTM stack: layers that predict the next frame at every step and later read their own predictions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from convlstm.architectures.feedback import Feed, FeedbackForecaster
from convlstm.architectures.input_frames import check_channels, check_frames, check_grid_kept, check_layer_options
from convlstm.layers import ConvLSTM, State
from convlstm.ops.convolution import Pair

import mlx.core as mx
import mlx.nn as nn


class ConvLSTMStack(FeedbackForecaster):
    r"""A stack of ConvLSTM layers that predicts each frame from the frame before: OpenSTL's `ConvLSTM`.

        x_t = the true frame for t < T_in, afterwards y_{t-1}
        h_t^1 = ConvLSTM^1(x_t),  h_t^n = ConvLSTM^n(h_t^{n-1})
        y_t = W_y * h_t^top

    for t = 0 ... T_in + horizon - 2. y_t predicts frame t + 1; the last `horizon` of them are the forecast. The frames
    are patches of `patch_size` x `patch_size` pixels as channels; W_y is 1x1, linear and without bias. Training
    minimises the loss of all predictions, including those of input frames, and may feed true frames by a schedule of
    `convlstm.training.sampling`. A forecast needs no ground truth.

    Args:
        in_channels: Channels of the frames, in and out. Default: 1.
        hidden_channels: Channels of the ConvLSTM layers, first layer first. Default: four of 128.
        kernel_size: Kernel of the layers, odd; an int or (height, width). Default: 5.
        patch_size: Side of the square patches that become channels. Default: 4.
        bias: If True, the gates have biases. Default: False.
        peepholes: If True, the gates see the cell state. Default: False.
        forget_bias: Initial value of the forget gate's bias, if the gates have biases. Default: 0.
        padding: None, zeros around the frames, or 'circular' for frames whose columns go round the earth. Default:
            None.
        **layer: The other arguments of the ConvLSTM layers (`dropout`, `grid_size`, `algorithm`, ...).

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Shi et al., Convolutional LSTM Network, 2015; Tan et al., OpenSTL, 2023, for this form.
    """

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: Sequence[int] = (128, 128, 128, 128),
        *,
        kernel_size: int | Pair = 5,
        patch_size: int = 4,
        bias: bool = False,
        peepholes: bool = False,
        forget_bias: float = 0.0,
        padding: str | None = None,
        **layer,
    ):
        super().__init__(in_channels, patch_size)
        if not hidden_channels:
            raise ValueError("[ConvLSTMStack] 'hidden_channels' must name at least one layer but got none.")
        check_channels("ConvLSTMStack", in_channels, hidden_channels, patch_size)
        check_layer_options("ConvLSTMStack", layer, patch_size)
        layer |= {"bias": bias, "peepholes": peepholes, "forget_bias": forget_bias}
        layer |= {} if padding is None else {"padding": padding}
        channels = in_channels * patch_size**2
        sizes = [channels, *hidden_channels]
        self.layers = [ConvLSTM(C, O, kernel_size, **layer) for C, O in pairwise(sizes)]
        self.circular = padding == "circular"
        self.output = nn.Conv2d(sizes[-1], channels, 1, bias=False)

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the frames' channels or size, or the horizon, do not fit the model."""
        grid = check_frames("ConvLSTMStack", inputs, horizon, self.in_channels, self.patch_size)
        check_grid_kept("ConvLSTMStack", self.layers, grid, "its output is fed back")

    def _keys(self, key: mx.array | None) -> list:
        """Returns a key for the dropout of each layer, the same at all steps, and one to draw the frames to feed."""
        number = len(self.layers) + 1
        if key is None and self.training and any(layer.dropout or layer.recurrent_dropout for layer in self.layers):
            # One draw for all calls of a layer, since each call would draw another mask.
            key = mx.random.randint(0, 2**31 - 1, (2,), mx.uint32)
        return [None] * number if key is None else list(mx.random.split(key, number))

    def _sampling_key(self, key: mx.array) -> mx.array:
        return self._keys(key)[-1]

    def predict(self, hidden: mx.array) -> mx.array:
        """Returns the next frames, as patches, from the top layer's hidden states: NLH'W'O -> (N, L, H', W', ppC)."""
        return hidden @ self.output.weight[:, 0, 0].T

    def _unroll(self, x: mx.array, steps: int, feed: Feed, key: mx.array | None) -> tuple[mx.array, None]:
        keys = self._keys(key)[:-1]
        # Known frames pass layer by layer, with one input convolution for all steps; the others step by step.
        states: list[State] = []
        filters = [layer.prepare() for layer in self.layers]
        for n, (layer, k) in enumerate(zip(self.layers, keys, strict=True)):
            x, state, filters[n] = layer.walk(x, None, filters[n], key=k)
            states.append(state)
        y = self.predict(x)
        frames = [y]
        for t in range(steps):
            x = feed(t, y[:, -1:])
            for n, (layer, k) in enumerate(zip(self.layers, keys, strict=True)):
                x, states[n], filters[n] = layer.walk(x, states[n], filters[n], key=k)
            y = self.predict(x)
            frames.append(y)
        return mx.concatenate(frames, axis=1), None
