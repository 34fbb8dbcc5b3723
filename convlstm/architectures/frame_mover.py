"""The frame mover: a stack of ConvLSTM layers that moves each frame into the next one and paints what has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.architectures.feedback import Feed
from convlstm.architectures.input_frames import depth_to_space, space_to_depth
from convlstm.architectures.layer_stack import LayerStack
from convlstm.arguments import check_flags, check_number, check_whole
from convlstm.ops.activations import softmax
from convlstm.ops.convolution import Pair
from convlstm.ops.linear import linear
from convlstm.ops.patch_kernels import filter_patches
from convlstm.ops.warp import warp_product

import mlx.core as mx
import mlx.nn as nn


class FrameMover(LayerStack):
    r"""A stack of ConvLSTM layers that moves the frame it has read by a few pixels, and paints the rest.

        x_t = the true frame for t < T_in, afterwards y_{t-1}
        h_t^1 = ConvLSTM^1(x_t),  h_t^n = ConvLSTM^n(h_t^{n-1})
        (p, s, k) = W * [h_t^1 .. h_t^top] + b
        y_t = sigmoid(s) moved + (1 - sigmoid(s)) sigmoid(p)
        moved[i, j] = sum_ab softmax(k)[a, b] x_t[i + a, j + b]

    for t = 0 ... T_in + horizon - 2. y_t predicts frame t + 1; the last `horizon` of them are the forecast. The painted
    values p and the shares s belong to a pixel, the kernels k to a patch: they say where the content of the patch has
    come from. So shapes need not pass through the hidden states, which only have to know how they move, and forecasts
    are sharp after little training.

    Where the motion is uncertain, k blurs, a little more with each step. This suits training, since the gradient sees
    all pixels in reach, but not pictures. So outside training, if `sharp`, the content moves by the mean of k, and the
    last input frame is read only once, bilinearly, along the way so far:

        v_t = -sum_ab softmax(k)[a, b] (a, b),   d_t(i, j) = v_t(i, j) + d_{t-1}((i, j) - v_t(i, j))
        moved(i, j) = x_{T_in - 1}((i, j) - d_t(i, j))

    Frames lie in [0, 1], and so do forecasts. Training minimises the loss of all y_t, including those of input frames,
    and may feed true frames by a schedule of `convlstm.training.sampling`.

    Args:
        in_channels: Channels of the frames, in and out. Default: 1.
        hidden_channels: Channels of the ConvLSTM layers, first layer first. Default: (64, 64).
        kernel_size: Kernel of the layers, odd; an int or (height, width). Default: 3.
        patch_size: Side of the square patches that become channels, and that move as a whole. Default: 4.
        motion_size: Side of the kernels k in pixels, odd: from frame to frame content moves by up to `motion_size` // 2
            pixels along each axis. Default: 9.
        sharp: If True, forecasts outside training read the last frame along the mean motion. If False they blur, as in
            training, which scores better where the motion is very uncertain. Default: True.
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
        sharp: bool = True,
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
        check_flags("FrameMover", sharp=sharp)
        self.motion_size, self.sharp = motion_size, sharp
        self.algorithm = layer.get("algorithm", "auto")
        pixels = patch_size**2
        self.output = nn.Conv2d(sum(hidden_channels), (in_channels + 1) * pixels + motion_size**2, 1)
        if output_mean is not None:
            mean = check_number("FrameMover", "output_mean", output_mean, above=0, below=1)
            self.output.bias[: in_channels * pixels] = math.log(mean / (1 - mean))

    def next_patches(self, hidden: list[mx.array], x: mx.array) -> mx.array:
        """Returns the next frames, (N, L, H', W', ppC), from the layers' hidden states and the frames x, as patches."""
        painted, share, kernels = self._parts(hidden)
        frames = depth_to_space(x, self.patch_size).flatten(0, 1)
        moved = filter_patches(frames, kernels.flatten(0, 1), self.algorithm, circular=self.circular)
        return self._combined(mx.unflatten(moved, 0, x.shape[:2]), painted, share)

    def _parts(self, hidden: list[mx.array]) -> tuple[mx.array, mx.array, mx.array]:
        """Returns painted patches (.., H', W', ppC), shares of what is moved (.., pp) and kernels (.., KK)."""
        y = linear(mx.concatenate(hidden, axis=-1), self.output.weight[:, 0, 0], self.output.bias, self.algorithm)
        pixels = self.patch_size**2
        painted, share, kernels = (
            mx.contiguous(part)
            for part in mx.split(y, [self.in_channels * pixels, (self.in_channels + 1) * pixels], axis=-1)
        )
        return mx.sigmoid(painted), mx.sigmoid(share), softmax(kernels, self.algorithm)

    def _combined(self, moved: mx.array, painted: mx.array, share: mx.array) -> mx.array:
        """Returns the frames of moved and painted ones, all as patches (N, L, H', W', ppC)."""
        moved, painted = (mx.unflatten(part, -1, (-1, self.in_channels)) for part in (moved, painted))
        share = share[..., None]
        return (share * moved + (1 - share) * painted).flatten(-2)

    def _mean_motion(self, kernels: mx.array) -> mx.array:
        """Returns the distance that the content of each pixel has come, on average over its kernel: (N, L, H, W, 2).

        The kernels are (N, L, H', W', KK).
        """
        K, size = self.motion_size, self.patch_size
        rows, columns = mx.meshgrid(*[mx.arange(K, dtype=mx.float32) - K // 2] * 2, indexing="ij")
        motion = -kernels @ mx.stack([rows.flatten(), columns.flatten()], axis=1)
        return mx.repeat(mx.repeat(motion, size, axis=2), size, axis=3)

    def _warp(self, frames: mx.array, motion: mx.array) -> mx.array:
        identity = mx.eye(frames.shape[-1])
        return warp_product(frames, motion, identity, self.algorithm, circular=self.circular)

    def _unroll(self, x: mx.array, steps: int, feed: Feed, key: mx.array | None) -> tuple[mx.array, None]:
        if self.training or not self.sharp:
            return super()._unroll(x, steps, feed, key)
        walk = self._walker(key)
        frames = depth_to_space(x, self.patch_size)
        N, L, *frame = frames.shape
        painted, share, kernels = self._parts(walk(x))
        motion = self._mean_motion(kernels)
        moved = self._warp(frames.reshape(N * L, *frame), motion.reshape(N * L, *motion.shape[2:]))
        y = self._combined(space_to_depth(moved.reshape(frames.shape), self.patch_size), painted, share)
        results, source, way = [y], frames[:, -1], motion[:, -1]
        for t in range(steps):
            x = feed(t, y[:, -1:])
            painted, share, kernels = self._parts(walk(x))
            motion = self._mean_motion(kernels)[:, 0]
            way = motion + self._warp(way, motion)
            moved = self._warp(source, way)[:, None]
            y = self._combined(space_to_depth(moved, self.patch_size), painted, share)
            results.append(y)
        return mx.concatenate(results, axis=1), None
