"""Frames without times: videos, and stacks in `.npy` files."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlstm.backend.child_main import unhurried
from convlstm.backend.child_pool import call
from convlstm.backend.child_process import ChildError, RaisedError, seconds_of_step
from convlstm.datasets import ffmpeg
from convlstm.datasets.readers import limits
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import check_bytes
from convlstm.datasets.readers.numpy_arrays import array_of, read
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif", ".ogv", ".ts", ".wmv", ".flv")
# Weights of red, green and blue in grey (ITU-R BT.601).
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
# Bytes for each pixel of a video while it is read: three colours as decoded, as float32, and the result.
_PIXEL = 24
# The same for the colours alone.
_COLOURS = 6
# mlx-data 0.1.0 writes past the rows of a width that this does not divide, except of GIFs.
_WIDTHS = 16
_GIF = b"GIF8"
# The time limit grows with the file.
_BYTES_A_SECOND = 1 << 18
# Share of the memory for a clip: it is what the user wants to forecast from.
_SHARE = 1 / 2
# Beginnings of the containers, with their offset. FFmpeg's libraries would also read lists of other files under these
# names.
_CONTAINERS = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"free"), (4, b"skip"), (4, b"wide"), (0, _GIF),
    (0, b"\x1aE\xdf\xa3"), (0, b"\0\0\x01\xba"), (0, b"\0\0\x01\xb3"), (0, b"OggS"), (0, b"FLV"),
    (0, b"0&\xb2u\x8ef\xcf\x11"),
)  # fmt: skip
# Every packet of an MPEG stream begins with this byte. Packets may have a time of 4 bytes before them.
_SYNC, _PACKETS = ord("G"), ((0, 188), (4, 192))


class VideoError(ValueError):
    """A file cannot be read as frames. The message names it."""


def is_video(path: str | Path) -> bool:
    """Returns True if a file has the name of a video."""
    return Path(path).suffix.lower() in VIDEOS


def read_video(path: str | Path, channels: int = 1) -> np.ndarray:
    """Returns the frames of a video: float32 (T, H, W, C) from 0 to 255.

    Args:
        path: The file.
        channels: 1 for grey, 3 for red, green and blue. Default: 1.

    Raises:
        VideoError: If the file cannot be read, is no video, or takes more than half of the memory.
        ValueError: If `channels` is another number.
    """
    if channels not in (1, 3):
        raise ValueError(f"[read_video] 'channels' must be 1 or 3 but got {channels!r}.")
    values = decode_video(path, pixel_bytes=_PIXEL).astype(np.float32)
    return values if channels == 3 else (values @ _GREY)[..., None]


def decode_video(path: str | Path, *, pixel_bytes: int = _COLOURS) -> np.ndarray:
    """Returns the frames of a video in red, green and blue: uint8 (T, H, W, 3).

    mlx-data decodes GIFs and widths that 16 divides; it gets all others wrong, and may crash. They, and videos that do
    not tell their number of frames, are decoded by the program FFmpeg if `convlstm.datasets.ffmpeg` finds it.

    Args:
        path: The file.
        pixel_bytes: Bytes for each pixel that the caller needs in total. Default: 6.

    Raises:
        VideoError: If the file cannot be read, is no video, or takes more than half of the memory.
    """
    path = Path(path).expanduser()
    try:
        with open_plain(path) as file:
            head = file.read(400)
        if not _is_container(head):
            raise UnreadableError(
                "is no video of a kind that is read: MP4, MOV, AVI, MKV, WebM, GIF, MPEG, TS, OGV, WMV or FLV. Convert "
                "it, or give frames as PNG or .npy"
            )
        seconds = seconds_of_step() + path.stat().st_size / _BYTES_A_SECOND
        most = int(limits.memory() * _SHARE / pixel_bytes)
        decoded = call(by_library, path.absolute(), most, head.startswith(_GIF), seconds=seconds)
        if isinstance(decoded, list):
            width, height, frames = decoded
            check_bytes(f"{frames} frames of {height}x{width}", width * height * max(frames, 1) * pixel_bytes, _SHARE)
            return _by_program(path, width, height, frames, _SHARE * _COLOURS / pixel_bytes)
        if decoded.ndim != 4 or decoded.shape[0] == 0:
            raise UnreadableError("has no frames")
    except (OSError, UnreadableError) as error:
        raise VideoError(f"[read_video] {path} {_reason(error)}.") from error
    except RaisedError as error:
        raise VideoError(
            f"[read_video] {path} cannot be read as a video ({error}). It may be damaged, or of a kind that FFmpeg's "
            "libraries, with which mlx-data decodes it, do not know. Convert it, or give frames as PNG or .npy."
        ) from error
    except ChildError as error:
        raise VideoError(f"[read_video] {path} {error}.") from error
    return decoded[..., :3] if decoded.shape[-1] >= 3 else np.repeat(decoded[..., :1], 3, axis=-1)


def by_library(path: Path, most: int, gif: bool) -> Iterator[Any]:
    """Yields the frames of a video, decoded by mlx-data, or its width, height and number of frames if it cannot be.

    `decode_video` runs this in another process, which a damaged video may end or block.

    Args:
        path: The video. It must be absolute: before the first colon of another path, FFmpeg reads the name of a
            protocol.
        most: Largest number of pixels of all frames together.
        gif: True for a GIF.
    """
    with unhurried():
        from mlx import data as dx
    buffer = dx.buffer_from_vector([{"file": os.fsencode(path)}])  # type: ignore[attr-defined]
    width, height, frames = (int(n) for n in np.ravel(buffer.load_video("file", info=True)[0]["file"])[:3])
    if frames < 1 or width * height * frames > most or not (width % _WIDTHS == 0 or gif):
        yield [width, height, frames]
    else:
        yield np.asarray(buffer.load_video("file")[0]["file"])


def _by_program(path: Path, width: int, height: int, frames: int, share: float) -> np.ndarray:
    """Returns the frames of a video that mlx-data cannot decode, uint8 (T, H, W, 3)."""
    if (program := ffmpeg.program()) is not None:
        return ffmpeg.decode(program, path, share)
    install = "Install the program FFmpeg: pip install 'convlstm[video]' (in a checkout: pip install -e '.[video]')"
    name, result = shlex.quote(path.name), shlex.quote(f"{path.stem}_converted.mp4")
    if frames < 1:
        raise UnreadableError(
            "has no frames, or does not tell how many, as is the case for Matroska, WebM and streams. "
            f"{install}, or convert it: ffmpeg -i {name} {result}"
        )
    kept = width - width % _WIDTHS
    convert = f", or convert it: ffmpeg -i {name} -vf crop={kept}:{height} {result}" if kept else ""
    raise UnreadableError(
        f"has frames {width} pixels wide, but mlx-data decodes only widths that {_WIDTHS} divides. {install}{convert}"
    )


def _is_container(head: bytes) -> bool:
    if any(head.startswith(mark, start) for start, mark in _CONTAINERS) or (head[:4], head[8:12]) == (b"RIFF", b"AVI "):
        return True
    return any(head[start : start + 2 * size : size] == bytes([_SYNC] * 2) for start, size in _PACKETS)


def read_stack(path: str | Path, channels: int = 1) -> np.ndarray:
    """Returns the frames of a `.npy` file, (T, H, W) or (T, H, W, C), as float32 (T, H, W, C).

    Args:
        path: The file.
        channels: C. Default: 1.

    Raises:
        VideoError: If the file cannot be read, has other frames, or takes more than half of the memory.
    """
    path = Path(path).expanduser()
    try:
        array = array_of(path)
        frames = (*array.shape, 1) if len(array.shape) == 3 else array.shape
        if len(frames) != 4 or frames[-1] != channels or 0 in frames or array.dtype.kind not in "iufb":
            raise UnreadableError(
                f"must have frames (T, H, W) or (T, H, W, C) with C={channels} but has {array.dtype} of {array.shape}"
            )
        check_bytes(f"frames of {array.shape}", math.prod(frames) * (array.dtype.itemsize + 4), _SHARE)
        return read(path, array, _SHARE).reshape(frames).astype(np.float32)
    except Exception as error:  # NumPy raises errors of many kinds for a damaged header
        raise VideoError(f"[read_stack] {path} {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UnreadableError) else f"cannot be read ({error}); it may be damaged"
