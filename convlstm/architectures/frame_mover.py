"""The frame mover: a stack of ConvLSTM layers that moves each frame into the next one and paints what has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.architectures.input_frames import depth_to_space, space_to_depth
from convlstm.architectures.layer_stack import LayerStack
from convlstm.arguments import check_number, check_whole
from convlstm.ops.convolution import Pair
from convlstm.ops.patch_kernels import filter_patches

import mlx.core as mx
import mlx.nn as nn


class FrameMover(LayerStack):
    r"""A stack of ConvLSTM layers that moves the frame it has read by a few pixels, and paints the rest.

        x_t = the true frame for t < T_in, afterwards y_{t-1}
        h_t^1 = ConvLSTM^1(x_t),  h_t^n = ConvLSTM^n(h_t^{n-1})
        (p, m, k) = W * [h_t^1 .. h_t^top] + b
        y_t = sigmoid(m) moved + (1 - sigmoid(m)) sigmoid(p),   moved[i, j] = sum_ab softmax(k)[a, b] x_t[i + a, j + b]

    for t = 0 ... T_in + horizon - 2. y_t predicts frame t + 1; the last `horizon` of them are the forecast. The painted
    values p and the shares m belong to a pixel, the kernel k to a patch: it says where the content of the patch has
    come from. So shapes need not pass through the hidden states, which only have to know how they move, and forecasts
    are sharp after little training. Where the motion is uncertain, k blurs.

    Frames lie in [0, 1], and so do forecasts. Training minimises the loss of all y_t, including those of input frames,
    and may feed true frames by a schedule of `convlstm.training.sampling`.

    Args:
        in_channels: Channels of the frames, in and out. Default: 1.
        hidden_channels: Channels of the ConvLSTM layers, first layer first. Default: (64, 64).
        kernel_size: Kernel of the layers, odd; an int or (height, width). Default: 3.
        patch_size: Side of the square patches that become channels, and that move as a whole. Default: 4.
        motion_size: Side of the kernels k in pixels, odd: from frame to frame content moves by up to `motion_size` // 2
            pixels along each axis. Default: 9.
        output_mean: Mean value of the data, at which the painted values start, between 0 and 1. Default: none, 0.5.
        padding: None, zeros around the frames, or 'circular' for frames whose columns go round the earth. Default:
            None.
        **layer: The other arguments of the ConvLSTM layers (`dropout`, `peepholes`, `algorithm`, ...).

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: De Brabandere et al., Dynamic Filter Networks, 2016; Finn et al., Unsupervised Learning for Physical
    Interaction through Video Prediction, 2016, for the shares of moved and painted pixels.
    """

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: Sequence[int] = (64, 64),
        *,
        kernel_size: int | Pair = 3,
        patch_size: int = 4,
        motion_size: int = 9,
        output_mean: float | None = None,
        padding: str | None = None,
        **layer,
    ):
        super().__init__(
            in_channels, hidden_channels, kernel_size=kernel_size, patch_size=patch_size, padding=padding, **layer
        )
        check_whole("FrameMover", "motion_size", motion_size, most=255)
        if motion_size % 2 == 0:
            raise ValueError(f"[FrameMover] 'motion_size' must be odd but got {motion_size}.")
        self.motion_size, self.algorithm = motion_size, layer.get("algorithm", "auto")
        pixels = patch_size**2
        self.output = nn.Conv2d(sum(hidden_channels), (in_channels + 1) * pixels + motion_size**2, 1)
        if output_mean is not None:
            mean = check_number("FrameMover", "output_mean", output_mean, above=0, below=1)
            self.output.bias[: in_channels * pixels] = math.log(mean / (1 - mean))

    def next_patches(self, hidden: list[mx.array], x: mx.array) -> mx.array:
        """Returns the next frames, (N, L, H', W', ppC), from the layers' hidden states and the frames x, as patches."""
        N, L, H, W, channels = x.shape
        size, pixels = self.patch_size, self.patch_size**2
        y = mx.concatenate(hidden, axis=-1) @ self.output.weight[:, 0, 0].T + self.output.bias
        painted, share, kernels = mx.split(y, [channels, channels + pixels], axis=-1)
        frames = depth_to_space(x.reshape(N * L, H, W, channels), size)
        kernels = mx.softmax(kernels, axis=-1).reshape(N * L, H, W, -1)
        moved = space_to_depth(filter_patches(frames, kernels, self.algorithm, circular=self.circular), size)
        # A share for each pixel of a patch, the same for its channels.
        share = mx.sigmoid(mx.repeat(share, self.in_channels, axis=-1) if self.in_channels > 1 else share)
        return share * moved.reshape(x.shape) + (1 - share) * mx.sigmoid(painted)
