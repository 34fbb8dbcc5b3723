"""Videos decoded by the program FFmpeg, which the package imageio-ffmpeg brings (the extra `video`)."""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import IO

from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import check_bytes

import numpy as np

# Seconds after which a program is ended that a damaged file keeps busy.
_LONGEST = 600.0
_RATE = re.compile(r"Video: .* (\d+(?:\.\d+)?) fps")


def program() -> str | None:
    """Returns the path of FFmpeg, or None if imageio-ffmpeg is not installed."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def decode(ffmpeg: str, path: Path, share: float) -> np.ndarray:
    """Returns the frames of a video, (T, H, W, 3) uint8, as they are stored: not turned, as by mlx-data.

    Args:
        ffmpeg: Path of the program.
        path: The video. It must be known to be one: FFmpeg also reads lists of other files.
        share: Share of the memory that the frames may take.

    Raises:
        UnreadableError: If it is damaged, has no frames or is too large.
    """
    command = [
        *(ffmpeg, "-nostdin", "-loglevel", "error", "-xerror", "-protocol_whitelist", "file"),
        *("-noautorotate", "-i", f"file:{path.absolute()}", "-map", "0:v:0", "-fps_mode", "passthrough"),
        *("-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"),
    ]
    frames: list[np.ndarray] = []
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        timer = threading.Timer(_LONGEST, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            with closing(process.stdout) as stream:
                while (frame := _next_frame(stream)) is not None:
                    frames.append(frame)
                    height, width, _ = frame.shape
                    # The list of frames and the array that it becomes.
                    check_bytes(
                        f"{len(frames)} or more frames of {height}x{width}", 2 * len(frames) * frame.nbytes, share
                    )
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        errors.seek(0)
        reasons = errors.read(1 << 16).decode(errors="replace").strip().splitlines()
    if status != 0 or not frames:
        raise UnreadableError(
            f"cannot be decoded ({reasons[-1] if reasons else 'it has no frames'}); it may be damaged"
        )
    if len({frame.shape for frame in frames}) > 1:
        raise UnreadableError("has frames of several sizes")
    return np.stack(frames)


def frame_rate(path: Path) -> float | None:
    """Returns the frames per second of a video, or None if they are unknown or imageio-ffmpeg is not installed.

    Args:
        path: The video. It must be known to be one.
    """
    ffmpeg = program()
    if ffmpeg is None:
        return None
    command = [ffmpeg, "-hide_banner", "-nostdin", "-protocol_whitelist", "file", "-i", f"file:{path.absolute()}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    found = _RATE.search(done.stderr.decode(errors="replace"))
    return float(found[1]) if found and float(found[1]) > 0 else None


def _next_frame(stream: IO[bytes]) -> np.ndarray | None:
    """Returns the next picture of a stream of PPM, or None at its end."""
    if stream.readline() != b"P6\n":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()
    pixels = stream.read(width * height * 3)
    if len(pixels) < width * height * 3:
        return None
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
