"""Forecasts as MP4 videos, encoded as H.264 by the FFmpeg that the package imageio-ffmpeg brings.

FFmpeg runs as a program of its own. Its libraries within this process would meet those of mlx-data.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

from convlstm.writers.forecast import SOURCE, Forecast
from convlstm.writers.optional_imports import MissingWriterError, library
from convlstm.writers.pictures import arguments

import numpy as np

FRAME_RATE, DRAWN_FRAME_RATE = 10.0, 4.0
"""Frames per second of clips, and of drawn fields, if neither the user nor the input says it."""

# Frames are enlarged by an even number, so that their larger side is about this: players smooth small ones, and H.264
# keeps colours at half the resolution.
_SIDE = 256
# Constant rate factor of x264: hardly any loss.
_QUALITY = 12
_COLOURS = "smpte170m"  # BT.601, which readers assume for videos of this size
# The comment in the header, which FFmpeg writes before the frames (+faststart).
_COMMENT = re.compile(rb"\xa9cmt.{4}data.{8}" + re.escape(SOURCE.encode()), re.DOTALL)
_HEADER = 1 << 20


def write(path: Path, forecast: Forecast) -> None:
    """Writes the frames of a forecast as H.264 (yuv420p) in MP4.

    Frames in [0, 1] are written as they are, without the inputs and without any text, so that the video can be read
    again. Small ones are enlarged by a whole number, without smoothing. Physical fields are drawn as in a GIF, after
    their inputs.

    Raises:
        MissingWriterError: imageio-ffmpeg is not installed.
        OSError: FFmpeg cannot write the file.
    """
    program = _program()
    frames = _plain(forecast) if forecast.units == "" else np.stack(list(_drawn(forecast)))
    frames = _even(frames)
    _, height, width, _ = frames.shape
    usual = FRAME_RATE if forecast.units == "" else DRAWN_FRAME_RATE
    rate = f"{usual if forecast.frame_rate is None else forecast.frame_rate:.6g}"
    convert = f"scale=out_color_matrix={_COLOURS}:flags=accurate_rnd,format=yuv420p"
    command = [
        *(program, "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0"),
        *("-vf", convert, "-c:v", "libx264", "-crf", str(_QUALITY)),
        *("-colorspace", _COLOURS, "-color_primaries", _COLOURS, "-color_trc", _COLOURS),
        *("-movflags", "+faststart", "-metadata", f"comment={SOURCE}", "-f", "mp4", f"file:{path.absolute()}"),
    ]
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        text = reason[-1] if reason else f"FFmpeg ended with status {done.returncode}"
        full = os.strerror(errno.ENOSPC)
        if any(full in line for line in reason):
            raise OSError(errno.ENOSPC, full)
        raise OSError(errno.EIO, f"FFmpeg cannot write it ({text}); the disk may be full")


def is_forecast(path: Path) -> bool:
    """Returns True if a video's comment says that this project has written it."""
    with path.open("rb") as file:
        head = file.read(_HEADER)
    return head[4:8] == b"ftyp" and _COMMENT.search(head) is not None


def _program() -> str:
    try:
        return library("imageio_ffmpeg", extra="video").get_ffmpeg_exe()
    except RuntimeError as error:
        if isinstance(error, MissingWriterError):
            raise
        raise MissingWriterError(f"there is no FFmpeg to write this format ({error}).") from error


def _plain(forecast: Forecast) -> np.ndarray:
    """Returns frames in [0, 1] as red, green and blue of 8 bits, enlarged if they are small."""
    from convlstm.report.frame_panel import rgb  # brings matplotlib

    values = forecast.values[..., None] if forecast.values.ndim == 3 else forecast.values
    frames = np.stack([rgb(frame) for frame in values])
    factor = max(1, 2 * round(_SIDE / 2 / max(frames.shape[1:3])))
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def _drawn(forecast: Forecast) -> Iterator[np.ndarray]:
    from convlstm.report.forecast_only import forecast_only_images

    return forecast_only_images(**arguments(forecast))


def _even(frames: np.ndarray) -> np.ndarray:
    """Returns frames with even sides, which H.264 needs for its colours: the last row or column is repeated."""
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        warnings.warn(
            f"[mp4] H.264 needs even sides, so frames of {height}x{width} are written as "
            f"{height + height % 2}x{width + width % 2}: the last row or column is repeated.",
            stacklevel=4,
        )
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return frames
