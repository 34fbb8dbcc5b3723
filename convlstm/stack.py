"""The ConvLSTM stack: layers that predict the next frame at every step, and feed on it where the frames end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from convlstm.frames import check_frames, check_grid_kept, check_layer_options, depth_to_space, space_to_depth
from convlstm.layers import ConvLSTM, State
from convlstm.ops.convolution import Pair

import mlx.core as mx
import mlx.nn as nn


class ConvLSTMStack(nn.Module):
    r"""A stack of ConvLSTM layers that predicts one frame from the frame before, OpenSTL's `ConvLSTM`.

        x_t = the true frame for t < T_in, afterwards y_{t-1}
        h_t^1 = ConvLSTM^1(x_t),  h_t^n = ConvLSTM^n(h_t^{n-1})
        y_t = W_y * h_t^top

    for t = 0 ... T_in + horizon - 2, where y_t predicts frame t + 1; the last `horizon` of them are the forecast. The
    frames are patches of `patch_size` x `patch_size` pixels as channels; W_y is 1x1, linear and without bias. Training
    minimises the loss of all predictions, those of the input frames too; afterwards no ground truth is needed.

    Args:
        in_channels: Channels of the frames, in and out. Default: 1.
        hidden_channels: Channels of the ConvLSTM layers, the first one first. Default: four of 128.
        kernel_size: Kernel of the layers, odd; an int or (height, width). Default: 5.
        patch_size: Side of the square patches that become channels. Default: 4.
        bias: Whether the gates have biases. Default: False.
        peepholes: Whether the gates see the cell state. Default: False.
        forget_bias: Initial value of the forget gate's bias, where there are biases. Default: 0.
        teacher_share: Probability with which training feeds a true target frame instead of the prediction, drawn for
            each sequence and step (scheduled sampling, with a constant share). Default: 0, always the prediction.
        **layer: The other arguments of the ConvLSTM layers (`dropout`, `grid_size`, `algorithm`, ...).

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Shi et al., Convolutional LSTM Network, 2015; Tan et al., OpenSTL, 2023, for this form of it. The sampling
    is that of Bengio et al., Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks, 2015.
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
        teacher_share: float = 0.0,
        **layer,
    ):
        super().__init__()
        if not isinstance(in_channels, int) or in_channels < 1:
            raise ValueError(f"[ConvLSTMStack] 'in_channels' must be at least 1 but got {in_channels!r}.")
        if not hidden_channels:
            raise ValueError("[ConvLSTMStack] 'hidden_channels' must name at least one layer but got none.")
        if not 0 <= teacher_share <= 1:
            raise ValueError(f"[ConvLSTMStack] 'teacher_share' must be from 0 to 1 but got {teacher_share}.")
        check_layer_options("ConvLSTMStack", layer, patch_size)
        self.in_channels, self.patch_size, self.teacher_share = in_channels, patch_size, teacher_share
        layer |= {"bias": bias, "peepholes": peepholes, "forget_bias": forget_bias}
        channels = in_channels * patch_size**2
        sizes = [channels, *hidden_channels]
        self.layers = [ConvLSTM(C, O, kernel_size, **layer) for C, O in pairwise(sizes)]
        self.output = nn.Conv2d(sizes[-1], channels, 1, bias=False)

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError where the frames' channels or size, or the horizon, do not fit the model."""
        grid = check_frames("ConvLSTMStack", inputs, horizon, self.in_channels, self.patch_size)
        check_grid_kept("ConvLSTMStack", self.layers, grid, "its output is fed back")

    def _check_truth(
        self, inputs: mx.array, horizon: int, truth: mx.array | None, mask: mx.array | None
    ) -> tuple[mx.array | None, mx.array | None]:
        """The frames that may be fed, as patches, and where they are, (N, horizon - 1, 1, 1, 1); None for never."""
        if (truth is None) != (mask is None):
            given, missing = ("mask", "truth") if truth is None else ("truth", "mask")
            raise ValueError(f"[ConvLSTMStack] '{given}' came without '{missing}'. Give both, or neither.")
        if truth is None or mask is None:
            return None, None
        N, _, *frame = inputs.shape
        if truth.ndim != 5 or (truth.shape[0], *truth.shape[2:]) != (N, *frame) or truth.shape[1] < horizon - 1:
            raise ValueError(
                f"[ConvLSTMStack] 'truth' must be the frames after the inputs, {horizon - 1} or more of them, of shape "
                f"{(N, horizon - 1, *frame)}, but got shape {tuple(truth.shape)}."
            )
        if tuple(mask.shape) != (N, horizon - 1):
            raise ValueError(
                f"[ConvLSTMStack] 'mask' must have a value for each sequence and step after the inputs, shape "
                f"{(N, horizon - 1)}, but got shape {tuple(mask.shape)}."
            )
        true = space_to_depth(truth.astype(inputs.dtype), self.patch_size)
        return true, (mask != 0).reshape(N, horizon - 1, 1, 1, 1)

    def _keys(self, key: mx.array | None) -> list:
        """A key for the dropout of each layer, the same at all steps, and one for the draw of the frames to feed."""
        number = len(self.layers) + 1
        if key is None and self.training and any(layer.dropout or layer.recurrent_dropout for layer in self.layers):
            # One draw for all calls of a layer: each of them would draw another mask.
            key = mx.random.randint(0, 2**31 - 1, (2,), mx.uint32)
        return [None] * number if key is None else list(mx.random.split(key, number))

    def predict(self, hidden: mx.array) -> mx.array:
        """The next frames, as patches, from the top layer's hidden states: (N, L, H', W', O) -> (N, L, H', W', ppC)."""
        return hidden @ self.output.weight[:, 0, 0].T

    def unroll_frames(
        self,
        inputs: mx.array,
        horizon: int,
        *,
        truth: mx.array | None = None,
        mask: mx.array | None = None,
        key: mx.array | None = None,
    ) -> mx.array:
        """Predictions of all next frames: of the inputs from the second on, and of the frames after them.

        Args:
            inputs: (N, T_in, H, W, C).
            horizon: Number of frames to predict after the inputs.
            truth: The frames after the inputs, (N, horizon - 1 or more, H, W, C). Default: none.
            mask: Where one of them is fed instead of the prediction of it, (N, horizon - 1): not zero at [n, t] feeds
                `truth[n, t]`. Default: nowhere.
            key: Key of the dropout masks in training; None draws from MLX's global state.

        Returns:
            (N, T_in + horizon - 1, H, W, C).
        """
        self.check_input(inputs, horizon)
        true, fed = self._check_truth(inputs, horizon, truth, mask)
        keys = self._keys(key)[:-1]
        # What is known is walked layer by layer, with one input convolution for all steps; the rest step by step.
        x = space_to_depth(inputs, self.patch_size)
        states: list[State] = []
        filters = [layer.prepare() for layer in self.layers]
        for n, (layer, k) in enumerate(zip(self.layers, keys, strict=True)):
            x, state, filters[n] = layer.walk(x, None, filters[n], key=k)
            states.append(state)
        y = self.predict(x)
        frames = [y]
        for t in range(horizon - 1):
            x = y[:, -1:]
            if true is not None and fed is not None:
                x = mx.where(fed[:, t : t + 1], true[:, t : t + 1], x)
            for n, (layer, k) in enumerate(zip(self.layers, keys, strict=True)):
                x, states[n], filters[n] = layer.walk(x, states[n], filters[n], key=k)
            y = self.predict(x)
            frames.append(y)
        return depth_to_space(mx.concatenate(frames, axis=1), self.patch_size)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Forecasts of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, C).
            horizon: Number of frames to forecast.
            key: Key of the dropout masks in training; None draws from MLX's global state.

        Returns:
            (N, horizon, H, W, C).
        """
        return self.unroll_frames(inputs, horizon, key=key)[:, -horizon:]

    def training_loss(
        self, loss: Callable[..., mx.array], inputs: mx.array, targets: mx.array, mask: mx.array | None, key: mx.array
    ) -> tuple[mx.array, mx.array]:
        """What training minimises, the loss of all next frames, and the loss of the forecast alone.

        Args:
            loss: Called as `loss(forecast, targets, mask)`.
            inputs, targets: (N, T_in, H, W, C) and (N, T_out, H, W, C).
            mask: Not zero where the targets are known; None: everywhere. Where a target is fed, its unknown values are
                fed as 0.
            key: Key of the dropout masks and of the draw of the targets that are fed.
        """
        N, T_out = targets.shape[:2]
        truth = fed = None
        if self.teacher_share > 0 and T_out > 1:
            truth = targets if mask is None else mx.where(mask != 0, targets, 0)
            fed = mx.random.bernoulli(self.teacher_share, (N, T_out - 1), key=self._keys(key)[-1])
        frames = self.unroll_frames(inputs, T_out, truth=truth, mask=fed, key=key)
        forecast = loss(frames[:, -T_out:], targets, mask)
        following = inputs[:, 1:]
        if mask is not None:
            ones = mx.ones(following.shape, mask.dtype)
            mask = mx.concatenate([ones, mx.broadcast_to(mask, targets.shape)], axis=1)
        return loss(frames, mx.concatenate([following, targets], axis=1), mask), forecast
