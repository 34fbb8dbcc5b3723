"""Extrapolation: the last frame moved along the motion of the frames before it."""

from __future__ import annotations

from collections.abc import Iterator

from convlstm.architectures.input_frames import check_frames
from convlstm.architectures.motion import check_motion, motion, positions
from convlstm.ops.sampling import LARGEST, bilinear, edges

import mlx.core as mx
import mlx.nn as nn

BORDERS = ("edge", "zero", "circular")


def advect(field: mx.array, flow: mx.array, leads: int, *, border: str = "edge", circular: bool = False) -> mx.array:
    """Returns a field moved along a steady flow, (N, H, W, C) -> (N, leads, H, W, C).

    The scheme is backward and semi-Lagrangian. The air that arrives at x has come along the flow from x_t,

        x_0 = x,  x_{t+1} = x_t - d(x_t),  with  d(x) = u(x - d(x) / 2)

    where d is the displacement in one frame by the midpoint rule, so that paths bend with the flow. The forecast t
    frames ahead is the field at x_t. It is interpolated only once, so it does not blur from lead time to lead time.

    Args:
        field: (N, H, W, C).
        flow: (N, H, W, 2): u = (dy, dx) in pixels per frame, as `motion` returns it; NaN and inf count as 0.
        leads: Number of frames.
        border: Values that enter over the border: 'edge', the value at which the path left the frame, or 'zero'; or
            'circular': the columns go round, as on a map of the earth, and rows are as for 'edge'. Default: 'edge',
            which scores better than 'zero' if all pixels count, since rain rarely ends at the border.
        circular: If True, the columns go round, and `border` is that of the rows. Default: False.

    Returns:
        (N, leads, H, W, C), of the field's type.

    Raises:
        ValueError: The shapes do not fit each other, `leads` is below 1, or `border` is another word.

    Source: Germann and Zawadzki, Scale-Dependence of the Predictability of Precipitation from Continental Radar Images.
    Part I, 2002.
    """
    check_border("advect", border)
    if leads < 1:
        raise ValueError(f"[advect] 'leads' must be at least 1 but got {leads}.")
    if field.ndim != 4 or flow.shape != (*field.shape[:3], 2):
        raise ValueError(
            f"[advect] expected a field of shape NHWC and a flow of shape NHW2 but got shapes {tuple(field.shape)} and "
            f"{tuple(flow.shape)}."
        )
    channels = field.astype(mx.float32).transpose(0, 3, 1, 2)
    circular = circular or border == "circular"
    places = paths(flow, leads, circular=circular)
    frames = [arrived(channels, y, x, border=border, circular=circular).transpose(0, 2, 3, 1) for y, x in places]
    return mx.stack(frames, axis=1).astype(field.dtype)


def paths(flow: mx.array, leads: int, *, circular: bool = False) -> Iterator[tuple[mx.array, mx.array]]:
    """Yields the rows and columns x_t from which the air comes for each lead time, (N, 1, H, W) each; see `advect`."""
    H, W = flow.shape[1:3]
    rows, columns = positions(H, W)
    u = flow.astype(mx.float32).transpose(0, 3, 1, 2)
    u = mx.where(mx.abs(u) < LARGEST, u, 0)
    d = u
    for _ in range(3):
        d = bilinear(u, rows - d[:, :1] / 2, columns - d[:, 1:] / 2, circular)
    y, x = rows - d[:, :1], columns - d[:, 1:]
    for lead in range(leads):
        if lead:
            back = bilinear(d, y, x, circular)
            y, x = y - back[:, :1], x - back[:, 1:]
        yield y, x


def arrived(channels: mx.array, y: mx.array, x: mx.array, *, border: str = "edge", circular: bool = False) -> mx.array:
    """Returns the values of fields (N, C, H, W) that arrive at each pixel from the rows y and columns x."""
    circular = circular or border == "circular"
    frame = bilinear(channels, y, x, circular)
    if border == "zero":
        frame = mx.where(within(y, x, circular=circular), frame, 0)
    return frame


def within(y: mx.array, x: mx.array, *, circular: bool = False) -> mx.array:
    """Returns where rows and columns (..., H, W) are those of a pixel of the frame, as a mask of the same shape."""
    y, x = mx.stop_gradient(y), mx.stop_gradient(x)
    bottom, right = edges(*y.shape[-2:])
    inside = (y >= -0.5) & (y <= bottom + 0.5)
    return inside if circular else inside & (x >= -0.5) & (x <= right + 0.5)


class Extrapolation(nn.Module):
    """The forecast that continues the motion: `advect` of the last frame along the `motion` of the inputs.

    It has nothing to learn. All channels share one motion, that of their mean.

    Args:
        frames: Number of last input frames that show the motion; one frame shows none. Default: 5.
        points: Cells along the shorter side of the finest grid of the motion. Default: 128.
        window: Width of the window that shares one motion, in cells of that grid; wider is smoother. Default: 2.
        iterations: Solutions on each grid. Default: 3.
        border: Values that enter over the border: 'edge', the value at the border, or 'zero'; or 'circular' for frames
            whose columns go round the earth, also in the motion. Default: 'edge'.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: those of `motion` and `advect`.
    """

    def __init__(
        self, frames: int = 5, points: int = 128, *, window: float = 2.0, iterations: int = 3, border: str = "edge"
    ):
        super().__init__()
        check_motion("Extrapolation", frames, points, window, iterations)
        check_border("Extrapolation", border)
        self.frames, self.points, self.window, self.iterations = frames, points, window, iterations
        self.border, self.circular = border, border == "circular"

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the inputs are not NTHWC, or if the horizon is below 1."""
        check_frames("Extrapolation", inputs, horizon, None, 1)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns a forecast of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, C).
            horizon: Number of frames to forecast.
            key: Not used.

        Returns:
            (N, horizon, H, W, C).
        """
        self.check_input(inputs, horizon)
        flow = motion(
            inputs,
            frames=self.frames,
            points=self.points,
            window=self.window,
            iterations=self.iterations,
            circular=self.circular,
        )
        return advect(inputs[:, -1], flow, horizon, border=self.border)


def check_border(owner: str, border: str) -> None:
    """Raises ValueError if `border` is not one of `BORDERS`."""
    if border not in BORDERS:
        raise ValueError(f"[{owner}] 'border' must be one of {', '.join(BORDERS)} but got {border!r}.")
