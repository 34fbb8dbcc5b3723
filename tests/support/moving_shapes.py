"""Clips of coloured squares that move over a dark ground, and files of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((255, 60, 40), (60, 220, 80))
GROUND = (20, 20, 60)


def shapes(frames: int, seed: int, *, size: tuple[int, int] = (16, 24), side: int = 6) -> np.ndarray:
    """Returns a clip of two squares that move by a pixel a frame and come in again at the other side.

    Returns:
        (T, H, W, 3) uint8.
    """
    height, width = size
    clip = np.empty((frames, height, width, 3), np.uint8)
    clip[:] = GROUND
    rng = np.random.default_rng(seed)
    for colour in COLOURS:
        top, left = rng.integers(0, height), rng.integers(0, width)
        down, right = rng.choice([-1, 1], 2)
        for t, frame in enumerate(clip):
            rows = (top + down * t + np.arange(side)) % height
            columns = (left + right * t + np.arange(side)) % width
            frame[np.ix_(rows, columns)] = colour
    return clip


def write_gif(path: Path, clip: np.ndarray) -> Path:
    """Writes a clip as a GIF, without loss since it has few colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stills = [Image.fromarray(frame) for frame in clip]
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=100)
    return path


def write_pictures(folder: Path, clip: np.ndarray, name: str = "{}.png") -> Path:
    """Writes the frames of a clip as pictures; `{}` in their names is the number of the frame, from 1 on."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, frame in enumerate(clip, 1):
        Image.fromarray(frame).save(folder / name.format(n))
    return folder


def write_gifs(folder: Path, lengths: list[int], **options) -> dict[str, np.ndarray]:
    """Writes clips of these lengths as GIFs; returns them by their names."""
    clips = {f"clip{n}.gif": shapes(length, n, **options) for n, length in enumerate(lengths)}
    for name, clip in clips.items():
        write_gif(folder / name, clip)
    return clips
