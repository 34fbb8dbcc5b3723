"""A network that corrects the quantiles of an ensemble, lead time by lead time."""

from __future__ import annotations

from convlstm.architectures.input_frames import depth_to_space, space_to_depth
from convlstm.architectures.parameter_maps import COARSER, LEAD_FEATURES, convolved, looked_around
from convlstm.ops.activations import relu

import mlx.core as mx
import mlx.nn as nn

# Values on the model's scale are small: rain of 1 mm/h is .4, and differences of quantiles are tenths.
_SCALE = 4.0
# Sides of the windows whose means a quantile can be drawn to: of pixels, and of the means before.
_WINDOWS = (3, 9)


class QuantileMaps(nn.Module):
    """Corrections of quantiles from themselves, from the frame moved on, and from what a network has read.

        z = relu((1 + a(t)) (W_1 [q, E]' + W_2 f) + b(t)),   ' by patches
        v = relu(conv(relu(look around(relu(conv(z))))))
        u = relu(conv(relu(conv([q, E, q_1, q_2]) + (W_3 v)'')))),   '' by pixels
        correction = W_4 u + g_1 (q_1 - q) + g_2 (q_2 - q),   g = W_5 v

    q are the quantiles, E is the frame and f what the network has read. q_1 is the mean of q over 3 x 3 pixels, and q_2
    that of q_1 over 9 x 9. a and b are functions of the lead time, as in `ParameterMaps`. z and v have a vector for
    each patch, and u for each pixel. W_4 and W_5 start at zero.

    Args:
        quantiles: Number of quantiles.
        features: Channels of what a network has read, one vector for each patch.
        channels: Channels of patches. Default: 48.
        pixel_channels: Channels of pixels. Default: 16.
        patch_size: Side of a patch. Default: 4.
    """

    def __init__(
        self, quantiles: int, features: int, *, channels: int = 48, pixel_channels: int = 16, patch_size: int = 4
    ):
        super().__init__()
        C, P, self.patch_size = channels, pixel_channels, patch_size
        self.of_values = nn.Linear(patch_size**2 * (quantiles + 1), C)
        self.of_features = nn.Linear(features, C, bias=False)
        self.times = [nn.Linear(LEAD_FEATURES, C), nn.Linear(C, 2 * C)]
        self.first, self.second = nn.Conv2d(C, C, 3, padding=1), nn.Conv2d(C, C, 3, padding=1)
        self.around = [nn.Conv2d(C, C, 3, padding=1) for _ in range(COARSER)]
        self.back = [nn.Linear(C, C, bias=False) for _ in range(COARSER)]
        self.to_pixels = nn.Linear(C, patch_size**2 * P)
        around = 1 + len(_WINDOWS)
        self.pixels = [nn.Conv2d(around * quantiles + 1, P, 3, padding=1), nn.Conv2d(P, P, 3, padding=1)]
        self.of_pixels, self.shares = nn.Linear(P, quantiles), nn.Linear(C, len(_WINDOWS) * quantiles)
        for layer in (self.times[1], self.of_pixels, self.shares):
            layer.weight, layer.bias = mx.zeros_like(layer.weight), mx.zeros_like(layer.bias)

    def __call__(self, quantiles: mx.array, moved: mx.array, features: mx.array, times: mx.array) -> mx.array:
        """Returns the corrections.

        Args:
            quantiles: (n, H, W, K).
            moved: The last frame where it has moved to, (n, H, W, 1).
            features: What a network has read, where it has moved to, (n, h, w, features).
            times: Functions of lead time, step and pixel size, (n, LEAD_FEATURES).

        Returns:
            (n, H, W, K).
        """
        side = self.patch_size
        values = _SCALE * mx.concatenate([quantiles, moved], axis=-1)
        a, b = mx.split(self.times[1](relu(self.times[0](times)))[:, None, None], 2, axis=-1)
        z = self.of_values(space_to_depth(values, side)) + self.of_features(features)
        z = relu(convolved(self.first, relu((1 + a) * z + b)))
        v = relu(convolved(self.second, relu(looked_around(z, self.around, self.back))))
        means = [quantiles]
        for window in _WINDOWS:
            means.append(_window_means(means[-1], window))
        u = convolved(self.pixels[0], mx.concatenate([values, *(_SCALE * mean for mean in means[1:])], axis=-1))
        u = relu(u + depth_to_space(self.to_pixels(v), side))
        total = self.of_pixels(relu(convolved(self.pixels[1], u))) / _SCALE
        for mean, share in zip(means[1:], mx.split(self.shares(v), len(_WINDOWS), axis=-1), strict=True):
            total = total + mx.repeat(mx.repeat(share, side, axis=1), side, axis=2) * (mean - quantiles)
        return total


def _window_means(x: mx.array, side: int) -> mx.array:
    """Returns means over windows of odd `side` of (n, H, W, C); the border's values go on beyond it."""
    for axis in (1, 2):
        size, width = x.shape[axis], [(0, 0)] * 4
        width[axis] = (side // 2, side // 2)
        padded = mx.pad(x, width, mode="edge")
        total = mx.zeros_like(x)
        for i in range(side):
            total = total + (padded[:, i : i + size] if axis == 1 else padded[:, :, i : i + size])
        x = total / side
    return x
