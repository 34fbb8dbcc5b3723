"""Extrapolation: the last frame, moved on along the motion of the frames before."""

from __future__ import annotations

from convlstm.architectures.frames import check_frames
from convlstm.architectures.motion import LARGEST, bilinear, check_motion, edges, motion, positions

import mlx.core as mx
import mlx.nn as nn

BORDERS = ("edge", "zero")


def advect(field: mx.array, flow: mx.array, leads: int, *, border: str = "edge") -> mx.array:
    """A field moved on along a steady flow, (N, H, W, C) -> (N, leads, H, W, C).

    Backward and semi-Lagrangian: the air that arrives at x has come along the flow from

        x_0 = x,  x_{t+1} = x_t - d(x_t),  with  d(x) = u(x - d(x) / 2)

    the way back of one frame by the midpoint rule, so that paths bend where the flow does; the forecast t frames ahead
    is the field at x_t, interpolated once, so that it does not blur from lead to lead.

    Args:
        field: (N, H, W, C).
        flow: (N, H, W, 2): u = (dy, dx) in pixels per frame, as `motion` finds it; NaN and inf count as 0.
        leads: Number of frames.
        border: What comes in over the border: 'edge', the value where the path left the frame, or 'zero', nothing.
            Default: 'edge', which scores better where all pixels count, since rain rarely ends at the border.

    Returns:
        (N, leads, H, W, C), of the field's type.

    Raises:
        ValueError: The shapes do not fit each other, or `leads` or `border` is not one of its values.

    Source: Germann and Zawadzki, Scale-Dependence of the Predictability of Precipitation from Continental Radar Images.
    Part I, 2002.
    """
    _check_border("advect", border)
    if leads < 1:
        raise ValueError(f"[advect] 'leads' must be at least 1 but got {leads}.")
    if field.ndim != 4 or flow.shape != (*field.shape[:3], 2):
        raise ValueError(
            f"[advect] expected a field of shape NHWC and a flow of shape NHW2 but got shapes {tuple(field.shape)} and "
            f"{tuple(flow.shape)}."
        )
    H, W = field.shape[1:3]
    channels = field.astype(mx.float32).transpose(0, 3, 1, 2)
    rows, columns = positions(H, W)
    bottom, right = edges(H, W)
    u = flow.astype(mx.float32).transpose(0, 3, 1, 2)
    u = mx.where(mx.abs(u) < LARGEST, u, 0)
    d = u
    for _ in range(3):
        d = bilinear(u, rows - d[:, :1] / 2, columns - d[:, 1:] / 2)

    y, x = rows - d[:, :1], columns - d[:, 1:]
    frames = []
    for lead in range(leads):
        if lead:
            back = bilinear(d, y, x)
            y, x = y - back[:, :1], x - back[:, 1:]
        frame = bilinear(channels, y, x)
        if border == "zero":
            inside = (y >= -0.5) & (y <= bottom + 0.5) & (x >= -0.5) & (x <= right + 0.5)
            frame = mx.where(inside, frame, 0)
        frames.append(frame.transpose(0, 2, 3, 1))
    return mx.stack(frames, axis=1).astype(field.dtype)


class Extrapolation(nn.Module):
    """The forecast that what is seen moves on: `advect` of the last frame along the `motion` of the inputs.

    It has nothing to learn. All channels move along one motion, that of their mean.

    Args:
        frames: How many of the last input frames show the motion; with one alone it is 0. Default: 5.
        points: Cells along the shorter side of the finest grid on which motion is sought. Default: 128.
        window: Width of the window in which motion is one, in cells of that grid; wider is smoother. Default: 2.
        iterations: Solutions on each grid. Default: 3.
        border: What comes in over the border: 'edge', the value at the border, or 'zero'. Default: 'edge'.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: those of `motion` and `advect`.
    """

    def __init__(
        self, frames: int = 5, points: int = 128, *, window: float = 2.0, iterations: int = 3, border: str = "edge"
    ):
        super().__init__()
        check_motion("Extrapolation", frames, points, window, iterations)
        _check_border("Extrapolation", border)
        self.frames, self.points, self.window, self.iterations = frames, points, window, iterations
        self.border = border

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError where the inputs are not NTHWC, or the horizon is below 1."""
        check_frames("Extrapolation", inputs, horizon, inputs.shape[-1], 1)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Forecasts of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, C).
            horizon: Number of frames to forecast.
            key: Not used: nothing here is random.

        Returns:
            (N, horizon, H, W, C).
        """
        self.check_input(inputs, horizon)
        flow = motion(inputs, frames=self.frames, points=self.points, window=self.window, iterations=self.iterations)
        return advect(inputs[:, -1], flow, horizon, border=self.border)


def _check_border(owner: str, border: str) -> None:
    if border not in BORDERS:
        raise ValueError(f"[{owner}] 'border' must be one of {', '.join(BORDERS)} but got {border!r}.")
