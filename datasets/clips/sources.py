"""Sources of clips: a video, a folder of pictures, and an array of frames."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from convlstm.datasets.clips.fitting import coloured
from convlstm.datasets.clips.layouts import Layout
from convlstm.datasets.readers.block_cache import BLOCKS, identity
from convlstm.datasets.readers.errors import ReadError, UnreadableError
from convlstm.datasets.readers.limits import check_frame
from convlstm.datasets.readers.numpy_arrays import Member, read, read_blocks, read_values
from convlstm.datasets.readers.plain_files import open_plain
from convlstm.datasets.video import VideoError, decode_video

import numpy as np

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_PIECE = 1 << 22

Runs = tuple[tuple[int, int], ...]
"""First frame and end of parts of a clip in which each frame follows the one before."""


@dataclass
class Facts:
    """The content of a source, which is found by reading all of it.

    Attributes:
        frames: Frames of each clip.
        height, width: Size of the frames.
        runs: Parts of the clip without a gap.
        low, high: Smallest and largest value of an array; NaN if a value is missing.
        sha256: Digest of the files.
        problem: Reason why the source, or a part of it, cannot be read.
    """

    frames: int = 0
    height: int = 0
    width: int = 0
    runs: Runs = ()
    low: float = 0.0
    high: float = 255.0
    sha256: str = ""
    problem: str = ""


class Source(Protocol):
    """One or several clips in the same file or folder.

    Attributes:
        path: The file or folder.
        name: Its name within the data set.
        kept: What is worth being kept in memory: `"clip"`, since a single frame would take as long to read; `"frame"`;
            or `""`, since reading is as fast as memory.
        eight_bits: True if the frames are read as uint8, False if as float32 in [0, 1].
    """

    @property
    def path(self) -> Path: ...
    @property
    def name(self) -> str: ...
    @property
    def kept(self) -> str: ...
    @property
    def eight_bits(self) -> bool: ...
    def stamp(self) -> list[int]:
        """Returns the size in bytes and the time of change in ns."""

    def facts(self) -> Facts:
        """Reads everything once. A source that cannot be read has a problem; nothing is raised."""

    def frames(self, clip: int, positions: Sequence[int]) -> np.ndarray:
        """Returns frames of a clip, (T, H, W, C), uint8 or float32 in [0, 1].

        Raises:
            ReadError: If they cannot be read.
        """


@dataclass(frozen=True)
class Video:
    """A video, with grey or coloured frames."""

    path: Path
    name: str
    channels: int

    kept = "clip"
    eight_bits = True

    def stamp(self) -> list[int]:
        """Returns the size in bytes and the time of change in ns."""
        stat = self.path.stat()
        return [stat.st_size, stat.st_mtime_ns]

    def facts(self) -> Facts:
        """Decodes the video once: the number of frames in its header may be wrong."""
        try:
            frames, height, width, _ = self._decoded().shape
            return Facts(frames, height, width, ((0, frames),), sha256=_digest([self.path]))
        except (ValueError, OSError) as error:
            return Facts(problem=str(error))

    def frames(self, clip: int, positions: Sequence[int]) -> np.ndarray:
        """Returns frames, (T, H, W, C) uint8."""
        try:
            frames = self._decoded()
        except VideoError as error:
            raise ReadError(str(error)) from error
        if max(positions) >= len(frames):
            raise ReadError(f"[VideoClips] {self.path} has only {len(frames)} frames now.")
        return frames[list(positions)]

    def _decoded(self) -> np.ndarray:
        return coloured(decode_video(self.path), self.channels)


@dataclass(frozen=True)
class Pictures:
    """A folder of pictures without times, one for each frame, in the order of the numbers in their names."""

    path: Path
    name: str
    files: tuple[str, ...]
    channels: int

    kept = "frame"
    eight_bits = True

    def stamp(self) -> list[int]:
        """Returns the size of all pictures in bytes and the last time of change in ns."""
        stats = [(self.path / file).stat() for file in self.files]
        return [sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats), len(stats)]

    def facts(self) -> Facts:
        """Reads all pictures once. One that is damaged, or has another size, or is absent, ends a run."""
        facts = Facts(frames=len(self.files))
        good = np.ones(len(self.files), bool)
        for n, file in enumerate(self.files):
            try:
                height, width = self._picture(file).shape[:2]
                if not facts.height:
                    facts.height, facts.width = height, width
                if (height, width) != (facts.height, facts.width):
                    raise UnreadableError(f"is of {height}x{width} instead of {facts.height}x{facts.width}")
            except Exception as error:  # Pillow raises errors of many kinds for a damaged picture
                good[n] = False
                facts.problem = facts.problem or f"{self.path / file} {error}"
        follows = good[1:] & good[:-1] & _follow(self.files)
        starts = [n for n in range(len(good)) if good[n] and (n == 0 or not follows[n - 1])]
        ends = [n + 1 for n in range(len(good)) if good[n] and (n == len(good) - 1 or not follows[n])]
        facts.runs = tuple(zip(starts, ends, strict=True))
        if not facts.problem and len(facts.runs) > 1:
            facts.problem = f"{self.path} lacks frames after {self.files[ends[0] - 1]}"
        facts.sha256 = _digest([self.path / file for file, kept in zip(self.files, good, strict=True) if kept])
        return facts

    def frames(self, clip: int, positions: Sequence[int]) -> np.ndarray:
        """Returns frames, (T, H, W, C) uint8."""
        try:
            return np.stack([self._picture(self.files[n]) for n in positions])
        except Exception as error:
            raise ReadError(f"[VideoClips] a picture of {self.path} can no longer be read: {error}") from error

    def _picture(self, file: str) -> np.ndarray:
        return read_picture(self.path / file, self.channels)


@dataclass(frozen=True)
class Stack:
    """An array of one clip or of several, in a `.npy` or `.npz` file.

    Args:
        path: The file.
        name: Name within the data set.
        member: The array.
        layout: The order of its axes.
        white: Value that becomes 1. None: 255 for 8 bits, else 1.
    """

    path: Path
    name: str
    member: Member
    layout: Layout
    white: float | None = None

    kept = ""

    @property
    def eight_bits(self) -> bool:
        return self.member.dtype == np.uint8 and self.white in (None, 255)

    @property
    def scale(self) -> float:
        """The value that becomes 1."""
        return self.white or (255.0 if self.member.dtype == np.uint8 else 1.0)

    def stamp(self) -> list[int]:
        """Returns the size in bytes and the time of change in ns."""
        stat = self.path.stat()
        return [stat.st_size, stat.st_mtime_ns]

    def facts(self) -> Facts:
        """Reads the array once, for its smallest and its largest value."""
        sizes = self.layout.sizes(self.member.shape)
        facts = Facts(sizes["T"], sizes["H"], sizes["W"], ((0, sizes["T"]),))
        try:
            if not self.eight_bits and self.member.nbytes:
                pieces = read_values(self.path, self.member) if self.member.start is not None else iter([self._whole()])
                with np.errstate(invalid="ignore"):
                    ends = np.array([(piece.min(), piece.max()) for piece in pieces], float)
                    facts.low, facts.high = float(ends[:, 0].min()), float(ends[:, 1].max())
            facts.sha256 = _digest([self.path])
        except Exception as error:  # zipfile and zlib raise errors of their own
            return Facts(problem=f"{self.path} cannot be read ({error}); it may be damaged")
        return facts

    def frames(self, clip: int, positions: Sequence[int]) -> np.ndarray:
        """Returns frames, (T, H, W, C), uint8 or float32 in [0, 1]."""
        try:
            frames = self._frames(clip, positions)
        except Exception as error:
            raise ReadError(f"[VideoClips] {self.path} can no longer be read: {error}") from error
        if self.eight_bits:
            return frames
        return frames.astype(np.float32) / np.float32(self.scale)

    def _frames(self, clip: int, positions: Sequence[int]) -> np.ndarray:
        # Read, not mapped into memory: a mapped file that somebody shortens ends the whole process.
        first, order = self.layout.first, self.layout.order
        if self.member.start is None or self.member.fortran or "T" not in first:
            return self.layout.frames(self._whole(), clip, positions)
        places = [tuple({"N": clip, "T": t}[axis] for axis in first) for t in positions]
        rest = Layout("T" + order[len(first) :])
        return rest.frames(read_blocks(self.path, self.member, places), clip, range(len(places)))

    def _whole(self) -> np.ndarray:
        if self.member.start is None:  # which is cached
            return read(self.path, self.member, share=1 / 4)
        key = (self.path, identity(self.path), self.member.name)
        return BLOCKS.get(key, lambda: read(self.path, self.member, share=1 / 4))


@dataclass(frozen=True)
class Clip:
    """A clip of a source.

    Attributes:
        name: Its name.
        source: Its source.
        number: Its number in the source.
        facts: The content of the source.
    """

    name: str
    source: Source
    number: int
    facts: Facts = field(repr=False)


def natural(text: str) -> list[tuple[int, str]]:
    """Returns a key that sorts numbers in texts by their value: 2 before 10."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if n % 2 else (-1, part) for n, part in enumerate(parts)]


def read_picture(path: Path, channels: int) -> np.ndarray:
    """Returns a picture as uint8 (H, W, C), grey or coloured. Of 16 bits, the upper 8 are kept.

    Raises:
        UnreadableError: If it is too large, or a file of another kind.
        OSError: If it cannot be read.
    """
    from PIL import Image

    with open_plain(path) as file, Image.open(file, formats=_PICTURE_FORMATS) as image:
        check_frame(image.size[::-1])
        if image.mode.startswith("I"):
            grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], channels, axis=-1)
        # Pillow warns about a palette with transparency unless it becomes RGBA first.
        plain = image.convert("RGBA") if "transparency" in image.info else image
        pixels = np.asarray(plain.convert("L" if channels == 1 else "RGB"))
    return pixels[..., None] if channels == 1 else pixels


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with open_plain(path) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def _follow(files: Sequence[str]) -> np.ndarray:
    """Returns True for each file but the first if its number follows the one before, or if there are no numbers."""
    numbers = [re.findall(r"\d+", Path(file).stem) for file in files]
    if len(files) < 3 or not all(numbers):
        return np.ones(max(len(files) - 1, 0), bool)
    steps = np.diff(np.array([int(found[-1]) for found in numbers], dtype=object))
    values, counts = np.unique(steps.astype(float), return_counts=True)
    return steps.astype(float) == values[counts.argmax()]
