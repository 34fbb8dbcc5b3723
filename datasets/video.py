"""Frames without times: videos, and stacks in `.npy` files."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
from mlx import data as dx

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif", ".ogv", ".ts", ".wmv", ".flv")
# Weights of red, green and blue in grey (ITU-R BT.601).
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_LARGEST = 4 << 30


class VideoError(ValueError):
    """A file cannot be read as frames. The message names it."""


def is_video(path: str | Path) -> bool:
    """Returns True if a file has the name of a video."""
    return Path(path).suffix.lower() in VIDEOS


def read_video(path: str | Path, channels: int = 1) -> np.ndarray:
    """Returns the frames of a video, decoded by mlx-data: float32 (T, H, W, C) from 0 to 255.

    Args:
        path: The file.
        channels: 1 for grey, 3 for red, green and blue. Default: 1.

    Raises:
        VideoError: If the file cannot be read, or is too large for memory.
        ValueError: If `channels` is another number.
    """
    if channels not in (1, 3):
        raise ValueError(f"[read_video] 'channels' must be 1 or 3 but got {channels!r}.")
    path = Path(path).expanduser()
    try:
        buffer = dx.buffer_from_vector([{"file": str(path).encode()}])  # type: ignore[attr-defined]
        width, height, frames = (int(n) for n in np.ravel(buffer.load_video("file", info=True)[0]["file"])[:3])
        if width * height * max(frames, 1) * 3 > _LARGEST:
            raise VideoError(f"[read_video] {path} has {frames} frames of {height}x{width}, too many. Cut it shorter.")
        decoded = np.asarray(buffer.load_video("file")[0]["file"])
    except RuntimeError as error:
        raise VideoError(
            f"[read_video] {path} cannot be read as a video ({error}). It may be damaged, or of a kind that FFmpeg's "
            "libraries, with which mlx-data decodes it, do not know. Convert it, or give frames as PNG or .npy."
        ) from error
    if decoded.ndim != 4 or decoded.shape[0] == 0:
        raise VideoError(
            f"[read_video] {path} has no frames, or does not tell how many, as is the case for Matroska, WebM and "
            f"streams. Convert it: ffmpeg -i {shlex.quote(path.name)} {shlex.quote(path.stem + '.mp4')}"
        )
    values = decoded[..., :3].astype(np.float32)
    if channels == 3:
        return values if values.shape[-1] == 3 else np.repeat(values[..., :1], 3, axis=-1)
    return (values @ _GREY)[..., None] if values.shape[-1] == 3 else values[..., :1]


def read_stack(path: str | Path, channels: int = 1) -> np.ndarray:
    """Returns the frames of a `.npy` file, (T, H, W) or (T, H, W, C), as float32 (T, H, W, C).

    Args:
        path: The file.
        channels: C. Default: 1.

    Raises:
        VideoError: If the file cannot be read, or has other frames.
    """
    path = Path(path).expanduser()
    try:
        stack = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy raises errors of many kinds for a damaged header
        raise VideoError(f"[read_stack] {path} cannot be read ({error}); it may be damaged.") from error
    frames = stack[..., None] if stack.ndim == 3 else stack
    if frames.ndim != 4 or frames.shape[-1] != channels or 0 in frames.shape or frames.dtype.kind not in "iufb":
        raise VideoError(
            f"[read_stack] {path} must have frames (T, H, W) or (T, H, W, C) with C={channels} but has {stack.dtype} "
            f"of {stack.shape}."
        )
    return frames.astype(np.float32)
