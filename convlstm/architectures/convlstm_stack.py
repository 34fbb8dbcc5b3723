"""The ConvLSTM stack: layers that predict the next frame at every step and later read their own predictions."""

from __future__ import annotations

from collections.abc import Sequence

from convlstm.architectures.layer_stack import LayerStack
from convlstm.ops.convolution import Pair

import mlx.core as mx
import mlx.nn as nn


class ConvLSTMStack(LayerStack):
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
        layer |= {"bias": bias, "peepholes": peepholes, "forget_bias": forget_bias}
        super().__init__(
            in_channels, hidden_channels, kernel_size=kernel_size, patch_size=patch_size, padding=padding, **layer
        )
        self.output = nn.Conv2d(hidden_channels[-1], in_channels * patch_size**2, 1, bias=False)

    def next_patches(self, hidden: list[mx.array], x: mx.array) -> mx.array:
        """Returns the next frames, as patches, from the top layer's hidden states: NLH'W'O -> (N, L, H', W', ppC)."""
        return hidden[-1] @ self.output.weight[:, 0, 0].T
