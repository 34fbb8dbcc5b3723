"""Sequences cut from archives of radar files: the windows of each split, and where in them a crop is taken."""

from __future__ import annotations

import functools
import hashlib
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from convlstm.datasets.archive import Archive
from convlstm.datasets.crops import Crops
from convlstm.datasets.measure import blocks_of
from convlstm.datasets.readers import ReadError
from convlstm.datasets.windows import Windows, split_by_dates, split_by_time

import numpy as np

SPLITS = ("train", "validation", "test")
_NONE = Windows(*(np.zeros(0, kind) for kind in ("int64", "int64", "datetime64[s]", "datetime64[s]")))


class RadarEvents:
    """The sequences of the splits of radar archives. A sequence is a function of its split, index, seed and epoch.

    Args:
        archives: Split to the archives that it is of. Splits that have none share those of ``"train"``.
        shares: Of the splits that share archives, by split; 0 for a split that is not wanted.
        dates: When validation and test begin, in place of shares; no split has archives of its own then. None: shares.
        length: Frames of a sequence.
        stride: Frames from one sequence's start to the next.
        frame_size: Height and width of a crop, or None for the whole frame.
        multiple: The sides of a whole frame are cut to a multiple of it.
        coarsen: Side in pixels of the squares that become one pixel.
        least_known: Share of known pixels that is enough for a place in training.
        wet_sampling: Share of the training sequences that are drawn in proportion to how wet they are.
        sequences: Split to the number of its sequences, or None for all.

    Raises:
        ValueError: If the archives do not fit together or are too short or too small.
    """

    def __init__(
        self,
        archives: Mapping[str, Sequence[Archive]],
        *,
        shares: Mapping[str, float],
        dates: Sequence[np.datetime64] | None,
        length: int,
        stride: int,
        frame_size: tuple[int, int] | None,
        multiple: int,
        coarsen: int,
        least_known: float,
        wet_sampling: float,
        sequences: Mapping[str, int | None],
    ):
        _check_apart(archives)
        self.archives = [archive for own in archives.values() for archive in own]
        self._length, self._stride, self._coarsen, self._wet_sampling = length, stride, coarsen, wet_sampling
        units = {archive.units: archive.name for archive in self.archives}
        if len(units) > 1:
            raise ValueError(
                f"[RadarEcho] the archives must be of the same units but are of {_listed(units)}. Leave one out, or "
                "set the reader's 'units'."
            )
        self.units = next(iter(units))
        self.frame_size = self._crop_size(frame_size, multiple)
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
        for split, wanted in sequences.items():
            windows = self._windows[split]
            if split != "train" and wanted is not None and wanted < len(windows):
                evenly = np.linspace(0, len(windows) - 1, wanted).round().astype(int)
                self._windows[split] = windows.take(evenly)
        self.sizes = {split: len(windows) for split, windows in self._windows.items()}
        if len(self._pool) > 0:
            self.sizes["train"] = sequences["train"] or len(self._pool)
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def frames(self, split: str, index: int, seed: int, epoch: int) -> np.ndarray:
        """The frames of a sequence, (T, H, W) float32, NaN where missing.

        A sequence with a file that has become unreadable since it was indexed is missing all over; the file is warned
        of once.
        """
        number, start, (top, left) = self._draw(split, index, seed, epoch)
        height, width = self.frame_size
        frames = np.full((self._length, height, width), np.nan, np.float32)
        for position, frame in enumerate(frames, start):
            try:
                whole = self.archives[number].frame(position, self._coarsen)
            except ReadError as error:
                self._warn(self.archives[number].file(position), error)
                return np.full_like(frames, np.nan)
            frame[:] = whole[top : top + height, left : left + width]
        return frames

    def times(self, split: str, index: int, seed: int, epoch: int) -> np.ndarray:
        """Times of the frames of a sequence, datetime64[s] of (T,)."""
        number, start, _ = self._draw(split, index, seed, epoch)
        return self.archives[number].times[start : start + self._length]

    def describe(self) -> dict:
        """The archives, the splits and how sequences are drawn, as a record for JSON."""
        names: dict[str, Archive] = {}
        for archive in self.archives:
            same = sum(archive.name == other.name for other in names.values())
            names[f"{archive.name} ({same + 1})" if same else archive.name] = archive
        known = list(names)
        digest = hashlib.sha256("".join(archive.fingerprint for archive in self.archives).encode())
        return {
            "archives": {name: archive.describe() for name, archive in names.items()},
            "splits": {
                split: {
                    "archives": [known[number] for number in np.unique(windows.series)],
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
        }

    def _draw(self, split: str, index: int, seed: int, epoch: int) -> tuple[int, int, tuple[int, int]]:
        """Number of the archive, first frame, and top and left of the crop of a sequence."""
        windows = self._windows[split]
        if split != "train":
            number = int(windows.series[index])
            return number, int(windows.start[index]), self._crops[number].fixed
        rng = np.random.default_rng([0, seed, epoch, index])
        wet = bool(rng.random() < self._wet_sampling and self._wet[-1] > 0)
        if wet:
            place = int(np.searchsorted(self._wet, rng.random() * self._wet[-1], side="right"))
            place = min(place, len(self._pool) - 1)
        else:
            turn, place = divmod(index, len(self._pool))
            place = _order(len(self._pool), seed, epoch, turn)[place]
        window = self._pool[place]
        number, start = int(windows.series[window]), int(windows.start[window])
        blocks = self.archives[number].wet_blocks[start : start + self._length].mean(0) if wet else None
        return number, start, self._crops[number].draw(rng, blocks)

    def _prepare_training(self) -> None:
        """The pool that training draws from: each window as often as it takes crops to cover what is known."""
        train = self._windows["train"]
        counts = np.array([crops.count for crops in self._crops])
        self._pool = np.repeat(np.arange(len(train)), counts[train.series])
        wet = np.zeros(len(train))
        for number, archive in enumerate(self.archives):
            sums = np.append(0.0, archive.wet.cumsum(dtype=np.float64))
            ours = train.series == number
            wet[ours] = np.diff(sums[train.start[ours] + np.array([[0], [self._length]])], axis=0)[0]
        self._wet = np.maximum(wet, 0)[self._pool].cumsum()

    def _split(
        self,
        archives: Mapping[str, Sequence[Archive]],
        shares: Mapping[str, float],
        dates: Sequence[np.datetime64] | None,
    ) -> dict[str, Windows]:
        windows, number = {}, 0
        for split, own in archives.items():
            windows[split] = Windows.of(enumerate(own, number), self._length, self._stride)
            number += len(own)
            if len(windows[split]) == 0:
                raise ValueError(
                    f"[RadarEcho] the archive of {split} is too short: {_figures(own)} hold no sequence of "
                    f"{self._length} frames without a gap. Use fewer input_frames or target_frames, or a longer one."
                )
        if dates is not None:
            return self._split_by_dates(windows["train"], dates)
        shared = {
            split: share for split, share in shares.items() if share > 0 and split not in (set(archives) - {"train"})
        }
        gap = np.timedelta64(round(self._length * np.nanmax([archive.step for archive in archives["train"]]) * 60), "s")
        blocks = split_by_time(windows["train"], list(shared.values()), gap)
        if blocks is None:
            raise ValueError(
                f"[RadarEcho] 'archive' is too short to be split into {_listed(shared)}: {_figures(archives['train'])} "
                f"hold {len(windows['train'])} sequences of {self._length} frames, and between two splits at least "
                f"{self._length - 1} frames stay unused. Use fewer input_frames or target_frames, fewer splits (a "
                "share of 0, or an archive of their own), or a longer archive."
            )
        windows["train"] = _NONE
        return dict.fromkeys(SPLITS, _NONE) | windows | dict(zip(shared, blocks, strict=True))

    @staticmethod
    def _split_by_dates(windows: Windows, dates: Sequence[np.datetime64]) -> dict[str, Windows]:
        splits = dict(zip(SPLITS, split_by_dates(windows, dates), strict=True))
        for split, own in splits.items():
            if len(own) == 0:
                raise ValueError(
                    f"[RadarEcho] 'split_dates' leave no sequences for {split}: those of 'archive' are from "
                    f"{windows.first.min()} to {windows.last.max()}. Choose other dates."
                )
        return splits

    def _crop_size(self, frame_size: tuple[int, int] | None, multiple: int) -> tuple[int, int]:
        shapes = {(a.grid.shape[0] // self._coarsen, a.grid.shape[1] // self._coarsen): a.name for a in self.archives}
        said = ", ".join(f"{name} {height} x {width}" for (height, width), name in shapes.items())
        said += f" (with coarsen={self._coarsen})" if self._coarsen > 1 else ""
        if frame_size is None:
            if len(shapes) > 1:
                raise ValueError(f"[RadarEcho] the archives' frames differ in size: {said}. Set 'frame_size'.")
            ((height, width),) = shapes
            frame_size = (height - height % multiple, width - width % multiple)
            if min(frame_size) == 0:
                raise ValueError(
                    f"[RadarEcho] frames cannot be cut to a multiple of {multiple} pixels: {said}. Use a smaller "
                    "'multiple' or 'coarsen'."
                )
        elif any(height < frame_size[0] or width < frame_size[1] for height, width in shapes):
            raise ValueError(
                f"[RadarEcho] 'frame_size' must be at most that of the archive's frames, {said}, but got "
                f"{frame_size[0]} x {frame_size[1]}. Use a smaller 'frame_size' or 'coarsen'."
            )
        return frame_size

    def _warn(self, file: str, error: ReadError) -> None:
        with self._lock:
            known = file in self._warned
            self._warned.add(file)
        if not known:
            warnings.warn(
                f"[RadarEcho] {file} could be read when the archive was indexed but not any more, so that sequences "
                f"with its frames count as missing: {error}",
                stacklevel=2,
            )


@functools.lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int, turn: int) -> np.ndarray:
    return np.random.default_rng([0, seed, epoch, turn, 1]).permutation(size)


def _check_apart(archives: Mapping[str, Sequence[Archive]]) -> None:
    """Refuse files that belong to two splits: what is tested on must not have been trained on."""
    owner: dict[Path, str] = {}
    for split, own in archives.items():
        for file in {file for archive in own for file in archive.files}:
            if file in owner:
                raise ValueError(
                    f"[RadarEcho] {file} belongs to the archives of both {owner[file]} and {split}. Give each split "
                    "files of its own, or one 'archive' for all, which is split by time."
                )
            owner[file] = split


def _figures(archives: Sequence[Archive]) -> str:
    return ", ".join(f"the {len(a)} frames of {a.name} at {a.step:g} min" for a in archives)


def _listed(values: Mapping) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
