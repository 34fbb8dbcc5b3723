"""The sequences of the splits of radar archives: windows in time, and the crops of their frames."""

from __future__ import annotations

import functools
import hashlib
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.frame_statistics import blocks_of
from convlstm.datasets.columns import Columns, columns_of
from convlstm.datasets.crops import Crops
from convlstm.datasets.readers import ReadError
from convlstm.datasets.readers.errors import printable
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.sequence_dataset import SPLITS
from convlstm.datasets.windows import TOLERANCE, Windows, split_by_dates, split_by_time

import numpy as np

_NONE = Windows(*(np.zeros(0, kind) for kind in ("int64", "int64", "datetime64[s]", "datetime64[s]")))


class ArchiveSequences:
    """The sequences of radar archives. A sequence is a function of its split, seed, epoch and index.

    Args:
        owner: Class of the data set, for messages.
        archives: The archives of each split. Splits without archives share those of `"train"`.
        shares: Shares of the splits that share archives; 0 for a split that is not wanted.
        dates: Times at which validation and test begin, instead of shares; all splits share archives then. None:
            shares.
        length: Frames of a sequence.
        stride: Frames from one sequence's start to the next.
        step: Minutes from frame to frame, a multiple of the step of each archive; None for the step of each archive.
        frame_size: Height and width of a crop, or None for the whole frame.
        multiple: Number that must divide the sides of a whole frame, which is cut to them.
        coarsen: Side in pixels of the squares that become one pixel.
        least_known: Share of known pixels that is enough for a position in training.
        wet_sampling: Share of the training sequences that are drawn in proportion to their rain.
        sizes: Number of sequences by split, or None for all.

    Attributes:
        archives: All archives.
        frame_size: Height and width of a frame.
        sizes: Number of sequences by split.
        fields: The fields of the frames, in the order of their channels.
        units: Units of the frames: `"mm/h"` or `"raw"`.
        frame_interval: Minutes from frame to frame, of the first archive.
        pixel_km: Side of a pixel in km, of the first archive; None if it is unknown, or differs over a grid of degrees.

    Raises:
        ValueError: If the archives do not fit together or are too short or too small.
    """

    def __init__(
        self,
        owner: str,
        archives: Mapping[str, Sequence[Archive]],
        *,
        shares: Mapping[str, float],
        dates: Sequence[np.datetime64] | None,
        length: int,
        stride: int,
        step: float | None,
        frame_size: tuple[int, int] | None,
        multiple: int,
        coarsen: int,
        least_known: float,
        wet_sampling: float,
        sizes: Mapping[str, int | None],
    ):
        self._owner = owner
        self._check_apart(archives)
        self.archives = [archive for of_split in archives.values() for archive in of_split]
        self._length, self._stride, self._coarsen, self._wet_sampling = length, stride, coarsen, wet_sampling
        self._split_record = [shares[split] for split in SPLITS] if dates is None else [str(date) for date in dates]
        self.fields, self.units = self._shared_fields(), self.archives[0].units
        self.frame_size = self._crop_size(frame_size, multiple)
        self._every = [self._frames_in_a_step(archive, step) for archive in self.archives]
        self.frame_interval = self._first_step()
        pixel_km = self.archives[0].grid.pixel_km
        self.pixel_km = None if pixel_km is None else pixel_km * coarsen
        sides = self.archives[0].grid.sides_km
        self.sides_km = None if sides is None else (sides[0] * coarsen, sides[1] * coarsen)
        self._crops = [
            Crops(
                archive.known(coarsen),
                self.frame_size,
                least_known=least_known,
                blocks=blocks_of(archive.grid.shape),
                full_shape=archive.grid.shape,
                coarsen=coarsen,
            )
            for archive in self.archives
        ]
        self._windows = self._split(archives, shares, dates)
        self._prepare_training()
        for split, wanted in sizes.items():
            windows = self._windows[split]
            if split != "train" and wanted is not None and wanted < len(windows):
                evenly = np.linspace(0, len(windows) - 1, wanted).round().astype(int)
                self._windows[split] = windows.take(evenly)
        self.sizes = {split: len(windows) for split, windows in self._windows.items()}
        if len(self._pool) > 0:
            self.sizes["train"] = sizes["train"] or len(self._pool)
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def frames(self, split: str, seed: int, epoch: int, index: int) -> np.ndarray:
        """Returns the frames of a sequence, float32, NaN where missing: (T, H, W), or (T, H, W, C) for several fields.

        If one of its files can no longer be read, the whole sequence is missing, with one warning for each file.
        """
        number, start, (top, left) = self._draw(split, seed, epoch, index)
        height, width = self.frame_size
        channels = (len(self.fields),) if len(self.fields) > 1 else ()
        frames = np.full((self._length, height, width, *channels), np.nan, np.float32)
        for position, frame in zip(self._positions(number, start), frames, strict=True):
            try:
                whole = self.archives[number].frame(position, self._coarsen)
            except ReadError as error:
                self._warn(self.archives[number].file(position), error)
                return np.full_like(frames, np.nan)
            frame[:] = whole[top : top + height, left : left + width]
        return frames

    @property
    def columns(self) -> Columns:
        """The columns of the frames in those of the archive of which most are cut off."""
        width = self.frame_size[1]
        return max((columns_of(a.grid, width, self._coarsen) for a in self.archives), key=lambda columns: columns.cut)

    def times(self, split: str, seed: int, epoch: int, index: int) -> np.ndarray:
        """Returns the times of the frames of a sequence, datetime64[s] of (T,)."""
        number, start, _ = self._draw(split, seed, epoch, index)
        return self.archives[number].times[self._positions(number, start)]

    def all_times(self, split: str) -> np.ndarray:
        """Returns the times of all frames of a split, each once, datetime64[s] of (F,)."""
        return np.unique(np.concatenate([self.archives[n].times[frames] for n, frames in self.used(split)]))

    def used(self, split: str) -> list[tuple[int, np.ndarray]]:
        """Returns the numbers of the archives of a split, and of all their frames that its sequences have."""
        windows, found = self._windows[split], []
        for number in np.unique(windows.series).tolist():
            starts = windows.start[windows.series == number]
            offsets = np.arange(self._length) * self._every[number]
            found.append((number, np.unique(starts[:, None] + offsets)))
        return found

    def place(self, split: str, seed: int, epoch: int, index: int) -> tuple[int, int, int]:
        """Returns the number of the archive of a sequence, and top and left of its crop in pixels after `coarsen`."""
        number, _, (top, left) = self._draw(split, seed, epoch, index)
        return number, top, left

    def describe(self) -> dict[str, Any]:
        """Returns a record of the archives, the splits and the sampling for JSON."""
        by_name: dict[str, Archive] = {}
        for archive in self.archives:
            same = sum(archive.name == other.name for other in by_name.values())
            by_name[f"{archive.name} ({same + 1})" if same else archive.name] = archive
        names = list(by_name)
        digest = hashlib.sha256("".join(archive.fingerprint for archive in self.archives).encode())
        return {
            "archives": {name: archive.describe() for name, archive in by_name.items()},
            "splits": {
                split: {
                    "archives": [names[number] for number in np.unique(windows.series)],
                    "first": str(windows.first.min()),
                    "last": str(windows.last.max()),
                }
                for split, windows in self._windows.items()
                if len(windows) > 0
            },
            "places": {name: list(crops.fixed) for name, crops in zip(names, self._crops, strict=True)},
            "coarsen": self._coarsen,
            "stride": self._stride,
            "wet_sampling": self._wet_sampling,
            "wet_sampling_rule": "this share of sequences by the wet share of windows and crops, the others evenly",
            "data_sha256": digest.hexdigest(),
            "split": self._split_record,
            "zr": list(self.archives[0].zr),
        }

    def _draw(self, split: str, seed: int, epoch: int, index: int) -> tuple[int, int, tuple[int, int]]:
        """Returns the number of the archive, the first frame, and top and left of the crop of a sequence."""
        windows = self._windows[split]
        if split != "train":
            number = int(windows.series[index])
            return number, int(windows.start[index]), self._crops[number].fixed
        rng = np.random.default_rng([0, seed, epoch, index])
        wet = bool(rng.random() < self._wet_sampling and self._wet[-1] > 0)
        if wet:
            drawn = int(np.searchsorted(self._wet, rng.random() * self._wet[-1], side="right"))
            drawn = min(drawn, len(self._pool) - 1)
        else:
            turn, place = divmod(index, len(self._pool))
            drawn = _order(len(self._pool), seed, epoch, turn)[place]
        window = self._pool[drawn]
        number, start = int(windows.series[window]), int(windows.start[window])
        blocks = self.archives[number].wet_blocks[self._positions(number, start)].mean(0) if wet else None
        return number, start, self._crops[number].draw(rng, blocks)

    def _positions(self, number: int, start: int) -> range:
        """Returns the numbers of a sequence's frames in its archive."""
        return range(start, start + self._length * self._every[number], self._every[number])

    def _prepare_training(self) -> None:
        """Fills the pool that training draws from: each window once for each crop that covers the known part."""
        train = self._windows["train"]
        counts = np.array([crops.count for crops in self._crops])
        self._pool = np.repeat(np.arange(len(train)), counts[train.series])
        wet = np.zeros(len(train))
        for number, archive in enumerate(self.archives):
            sums = np.append(0.0, archive.wet.cumsum(dtype=np.float64))
            ours = train.series == number
            span = (self._length - 1) * self._every[number] + 1
            wet[ours] = np.diff(sums[train.start[ours] + np.array([[0], [span]])], axis=0)[0]
        self._wet = np.maximum(wet, 0)[self._pool].cumsum()

    def _split(
        self,
        archives: Mapping[str, Sequence[Archive]],
        shares: Mapping[str, float],
        dates: Sequence[np.datetime64] | None,
    ) -> dict[str, Windows]:
        windows, number = {}, 0
        for split, of_split in archives.items():
            numbers = range(number, number + len(of_split))
            series = ((n, archive, self._every[n]) for n, archive in zip(numbers, of_split, strict=True))
            windows[split] = Windows.of(series, self._length, self._stride)
            number += len(of_split)
            if len(windows[split]) == 0:
                raise ValueError(
                    f"[{self._owner}] the archive of {split} is too short: {_lengths(of_split)} hold no sequence of "
                    f"{self._length} frames without a gap. Use fewer input_frames or target_frames, or a longer one."
                )
        if dates is not None:
            return self._split_by_dates(windows["train"], dates)
        shared = {
            split: share for split, share in shares.items() if share > 0 and split not in (set(archives) - {"train"})
        }
        steps = [archive.step * every for archive, every in zip(archives["train"], self._every, strict=False)]
        gap = np.timedelta64(round(self._length * np.nanmax(steps) * 60), "s")
        blocks = split_by_time(windows["train"], list(shared.values()), gap)
        if blocks is None:
            raise ValueError(
                f"[{self._owner}] 'archive' is too short to be split into {_listed(shared)}: "
                f"{_lengths(archives['train'])} hold {len(windows['train'])} sequences of {self._length} frames, and "
                f"at least {self._length - 1} frames between two splits are not used. Use fewer input_frames or "
                "target_frames, a smaller stride, fewer splits (a share of 0, or an archive of their own), or a "
                "longer archive."
            )
        windows["train"] = _NONE
        return dict.fromkeys(SPLITS, _NONE) | windows | dict(zip(shared, blocks, strict=True))

    def _split_by_dates(self, windows: Windows, dates: Sequence[np.datetime64]) -> dict[str, Windows]:
        splits = dict(zip(SPLITS, split_by_dates(windows, dates), strict=True))
        for split, of_split in splits.items():
            if len(of_split) == 0:
                raise ValueError(
                    f"[{self._owner}] 'split_dates' leave no sequences for {split}: those of 'archive' are from "
                    f"{windows.first.min()} to {windows.last.max()}. Choose other dates."
                )
        return splits

    def _shared_fields(self) -> tuple[Field, ...]:
        fields = {archive.name: tuple(field.physical for field in archive.grid.fields) for archive in self.archives}
        first = next(iter(fields.values()))
        for name, others in fields.items():
            if len(others) != len(first) or any(_differ(a, b) for a, b in zip(others, first, strict=True)):
                listed = "; ".join(f"{name} {', '.join(map(str, of_archive))}" for name, of_archive in fields.items())
                raise ValueError(
                    f"[{self._owner}] the archives must have the same fields but have: {listed}. Leave {name} out, or "
                    "set the reader's 'variable' and 'units'."
                )
        return first

    def _frames_in_a_step(self, archive: Archive, step: float | None) -> int:
        """Returns the number of the archive's frames from one frame of a sequence to the next."""
        if step is None:
            return 1
        count = round(step / archive.step) if archive.step > 0 else 0
        if count < 1 or abs(count * archive.step / step - 1) > TOLERANCE / 2:
            raise ValueError(
                f"[{self._owner}] 'step' must be a multiple of the {archive.step:g} min between the frames of "
                f"{archive.name} but got {step:g}."
            )
        return count

    def _first_step(self) -> float:
        steps = {a.name: a.step * every for a, every in zip(self.archives, self._every, strict=True)}
        if len(set(steps.values())) > 1:
            listed = ", ".join(f"{name} {step:g} min" for name, step in steps.items())
            warnings.warn(
                f"[{self._owner}] the archives differ in the time between frames ({listed}). A model is trained on all "
                "of them alike, and lead times count steps of the first.",
                stacklevel=4,
            )
        return next(iter(steps.values()))

    def _crop_size(self, frame_size: tuple[int, int] | None, multiple: int) -> tuple[int, int]:
        shapes = {(a.grid.shape[0] // self._coarsen, a.grid.shape[1] // self._coarsen): a.name for a in self.archives}
        listed = ", ".join(f"{name} {height} x {width}" for (height, width), name in shapes.items())
        listed += f" (with coarsen={self._coarsen})" if self._coarsen > 1 else ""
        if frame_size is None:
            if len(shapes) > 1:
                raise ValueError(f"[{self._owner}] the archives' frames differ in size: {listed}. Set 'frame_size'.")
            ((height, width),) = shapes
            frame_size = (height - height % multiple, width - width % multiple)
            if min(frame_size) == 0:
                raise ValueError(
                    f"[{self._owner}] frames cannot be cut to a multiple of {multiple} pixels: {listed}. Use a smaller "
                    "'multiple' or 'coarsen'."
                )
        elif any(height < frame_size[0] or width < frame_size[1] for height, width in shapes):
            raise ValueError(
                f"[{self._owner}] 'frame_size' must be at most that of the archive's frames, {listed}, but got "
                f"{frame_size[0]} x {frame_size[1]}. Use a smaller 'frame_size' or 'coarsen'."
            )
        return frame_size

    def _check_apart(self, archives: Mapping[str, Sequence[Archive]]) -> None:
        """Raises ValueError if a file belongs to two splits: the data of a test must not have been trained on."""
        owner: dict[Path, str] = {}
        for split, of_split in archives.items():
            for file in {file for archive in of_split for file in archive.files}:
                if file in owner:
                    raise ValueError(
                        f"[{self._owner}] {file} belongs to the archives of both {owner[file]} and {split}. Give each "
                        "split files of its own, or one 'archive' for all, which is split by time."
                    )
                owner[file] = split

    def _warn(self, file: str, error: ReadError) -> None:
        with self._lock:
            known = file in self._warned
            self._warned.add(file)
        if not known:
            warnings.warn(
                f"[{self._owner}] {printable(file)} could be read when the archive was indexed but not any more, so "
                f"sequences with its frames count as missing: {error}",
                stacklevel=2,
            )


@functools.lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int, turn: int) -> np.ndarray:
    return np.random.default_rng([0, seed, epoch, turn, 1]).permutation(size)


def _differ(one: Field, other: Field) -> bool:
    """Returns True for fields of different quantities; the same rain may have different names."""
    return (one.units, one.is_rain) != (other.units, other.is_rain) or (not one.is_rain and one.name != other.name)


def _lengths(archives: Sequence[Archive]) -> str:
    return ", ".join(
        f"the {len(a)} frames of {a.name} at {a.step:g} min" if len(a) > 1 else f"the single frame of {a.name}"
        for a in archives
    )


def _listed(values: Mapping) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
