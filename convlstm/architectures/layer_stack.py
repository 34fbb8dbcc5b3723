"""The base class of forecasters with a stack of ConvLSTM layers that reads a frame and predicts the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from convlstm.architectures.feedback import Feed, FeedbackForecaster
from convlstm.architectures.input_frames import check_channels, check_frames, check_grid_kept, check_layer_options
from convlstm.layers import ConvLSTM, State
from convlstm.ops.convolution import Pair

import mlx.core as mx


class LayerStack(FeedbackForecaster):
    r"""A stack of ConvLSTM layers, the first of which reads the patches of a frame.

        h_t^1 = ConvLSTM^1(x_t),  h_t^n = ConvLSTM^n(h_t^{n-1})
        y_t = next_patches(h_t^1 .. h_t^top, x_t)

    A subclass has `next_patches`.

    Args:
        in_channels: Channels of the frames, in and out.
        hidden_channels: Channels of the layers, first layer first.
        kernel_size: Kernel of the layers, odd; an int or (height, width).
        patch_size: Side of the square patches that become channels.
        padding: None, zeros around the frames, or 'circular' for frames whose columns go round the earth.
        **layer: The other arguments of the ConvLSTM layers.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Sequence[int],
        *,
        kernel_size: int | Pair,
        patch_size: int,
        padding: str | None,
        **layer,
    ):
        super().__init__(in_channels, patch_size)
        name = type(self).__name__
        if not hidden_channels:
            raise ValueError(f"[{name}] 'hidden_channels' must name at least one layer but got none.")
        check_channels(name, in_channels, hidden_channels, patch_size)
        check_layer_options(name, layer, patch_size)
        layer |= {} if padding is None else {"padding": padding}
        sizes = [in_channels * patch_size**2, *hidden_channels]
        self.layers = [ConvLSTM(C, O, kernel_size, **layer) for C, O in pairwise(sizes)]
        self.circular = padding == "circular"

    def next_patches(self, hidden: list[mx.array], x: mx.array) -> mx.array:
        """Returns the next frames, (N, L, H', W', C'), from the layers' hidden states and the frames that they read."""
        raise NotImplementedError

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the frames' channels or size, or the horizon, do not fit the model."""
        name = type(self).__name__
        grid = check_frames(name, inputs, horizon, self.in_channels, self.patch_size)
        check_grid_kept(name, self.layers, grid, "its output is fed back")

    def _keys(self, key: mx.array | None) -> list:
        """Returns a key for the dropout of each layer, the same at all steps, and one to draw the frames to feed."""
        number = len(self.layers) + 1
        if key is None and self.training and any(layer.dropout or layer.recurrent_dropout for layer in self.layers):
            # One draw for all calls of a layer, since each call would draw another mask.
            key = mx.random.randint(0, 2**31 - 1, (2,), mx.uint32)
        return [None] * number if key is None else list(mx.random.split(key, number))

    def _sampling_key(self, key: mx.array) -> mx.array:
        return self._keys(key)[-1]

    def _walker(self, key: mx.array | None) -> Callable[[mx.array], list[mx.array]]:
        """Returns a function that takes the layers over the frames that follow, and returns their hidden states."""
        keys = self._keys(key)[:-1]
        states: list[State | None] = [None] * len(self.layers)
        filters = [layer.prepare() for layer in self.layers]

        def walk(x: mx.array) -> list[mx.array]:
            hidden = [x]
            for n, (layer, k) in enumerate(zip(self.layers, keys, strict=True)):
                h, states[n], filters[n] = layer.walk(hidden[-1], states[n], filters[n], key=k)
                hidden.append(h)
            return hidden[1:]

        return walk

    def _unroll(self, x: mx.array, steps: int, feed: Feed, key: mx.array | None) -> tuple[mx.array, None]:
        walk = self._walker(key)
        # Known frames pass layer by layer, with one input convolution for all steps; the others step by step.
        y = self.next_patches(walk(x), x)
        frames = [y]
        for t in range(steps):
            x = feed(t, y[:, -1:])
            y = self.next_patches(walk(x), x)
            frames.append(y)
        return mx.concatenate(frames, axis=1), None
