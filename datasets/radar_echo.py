"""Radar echo: sequences of rain fields, from a folder of radar files or from a synthetic radar."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.arguments import check_whole
from convlstm.backend.memory import check_memory
from convlstm.datasets import arguments
from convlstm.datasets.archive import Archive
from convlstm.datasets.frame_cache import FrameCache
from convlstm.datasets.radar_events import SPLITS, RadarEvents
from convlstm.datasets.stream import BatchStream, batch_indices, batches
from convlstm.datasets.synthetic_radar import SyntheticRadar
from convlstm.datasets.transforms import RadarTransform, default_transform

import numpy as np

# HKO-7's (Shi et al., 2017) and SEVIR's (Veillette et al., 2020).
_THRESHOLDS = {"mm/h": (0.5, 2.0, 5.0, 10.0, 30.0), "raw": (16.0, 74.0, 133.0, 160.0, 181.0, 219.0)}
_SYNTHETIC_SIDE = 128
_SYNTHETIC_SEQUENCES = {"train": 2000, "validation": 100, "test": 200}


class RadarEcho:
    """Sequences of radar frames: of real archives, or of a synthetic radar where no archive is given.

    A sequence is ``input_frames + target_frames`` frames, each a step of the archive after the one before. The
    archive is split by time: training is the first part, validation the next, test the last, and between two of them
    as much time as a sequence takes at least. A training sequence is a function of ``(seed, epoch, index)``, one of
    validation and test of its index alone: there the crop is at the place with the most known pixels.

    Frames are brought to [0, 1] by ``transform``. Missing pixels are 0 there, no rain, and not set in the mask; a
    sequence with a file that cannot be read any more is missing all over.

    Args:
        archive: Folder or file of radar data, or several, see :class:`~convlstm.datasets.archive.Archive`. None: the synthetic
            radar. Default: ``None``.
        validation_archive: Archives for validation alone; ``archive`` is not split for it then. Default: ``None``.
        test_archive: The same for test. Default: ``None``.
        format: Format of the files, or ``"auto"``. Default: ``"auto"``.
        reader: Options of the format's reader. Default: none.
        split: Shares of train, validation and test; 0 for a split that is not wanted. Default: ``(0.7, 0.1, 0.2)``.
        split_dates: When validation and test begin (UTC), such as ``["2019-01-01", "2019-06-01"]``, in place of
            shares. A sequence that lies on both sides of one of them is left out. Default: ``None``, by shares.
        input_frames: Frames of ``inputs``. Default: ``5``.
        target_frames: Frames of ``targets``. Default: ``20``.
        stride: Frames from the start of one sequence to the next. Default: ``1``.
        frame_size: Side of a crop in pixels, or ``(H, W)``; None for the whole frame (128 of the synthetic radar).
            Default: ``None``.
        multiple: Whole frames are cut so that their sides are multiples of it, for models that have patches or
            strides. Default: ``4``.
        coarsen: Side of the squares of pixels whose mean, in physical units, becomes one pixel, before the crop.
            Default: ``1``.
        least_known: Share of known pixels that is enough for a training crop's place; if no place has it, the most
            that one has. Default: ``0.8``.
        transform: To [0, 1] and back. Default: :class:`~convlstm.datasets.transforms.Reflectivity` for mm/h,
            :class:`~convlstm.datasets.transforms.Linear` for raw values.
        thresholds: For scores, in physical units. Default: HKO-7's for mm/h, SEVIR's for raw values.
        augment: Flip training sequences at random, and turn square ones by quarters. Default: ``False``.
        wet_sampling: Share of the training sequences whose window and crop are drawn in proportion to their share of
            pixels with rain; the others are drawn evenly. Default: ``0.0``.
        train_sequences: Training sequences in an epoch. Default: the number of windows, times the crops that it
            takes to cover the known part of a frame; 2000 of the synthetic radar.
        validation_sequences: Validation sequences at most, evenly over the split. Default: all; 100 synthetic ones.
        test_sequences: Test sequences at most, evenly over the split. Default: all; 200 synthetic ones.
        zr: ``(a, b)`` of Z = a R^b, for archives of reflectivity in dBZ. Default: ``(200.0, 1.6)``.
        synthetic: Arguments of :class:`~convlstm.datasets.synthetic_radar.SyntheticRadar`. Default: none.
        index: Folder of the stored indexes. Default: see :class:`~convlstm.datasets.archive.Archive`.
        cache_bytes: Most bytes of decoded frames to keep, of all archives together. Default: 512 MiB.
        prefetch: Batches made ahead. Default: ``4``.
        threads: Background threads that make them. Default: ``1``.
        progress: Show a bar while an archive is indexed. Default: ``True``.

    Attributes:
        frame_shape: ``(H, W, 1)``.
        units: Of the physical values: ``"mm/h"`` or ``"raw"``.
        thresholds: For scores, in these units.
        frame_interval: Minutes from frame to frame.
        pixel_km: Side of a pixel in km, or None where it is unknown or in degrees.
        transform: To [0, 1] and back.

    Raises:
        FileNotFoundError: If there is nothing at an archive's path.
        ValueError: If an argument is out of its range, an archive has nothing that can be used, or is too short or
            too small for what is asked.
    """

    def __init__(
        self,
        *,
        archive: str | Sequence[str] | None = None,
        validation_archive: str | Sequence[str] | None = None,
        test_archive: str | Sequence[str] | None = None,
        format: str = "auto",
        reader: Mapping[str, Any] | None = None,
        split: Sequence[float] = (0.7, 0.1, 0.2),
        split_dates: Sequence[str] | None = None,
        input_frames: int = 5,
        target_frames: int = 20,
        stride: int = 1,
        frame_size: int | Sequence[int] | None = None,
        multiple: int = 4,
        coarsen: int = 1,
        least_known: float = 0.8,
        transform: RadarTransform | None = None,
        thresholds: Sequence[float] | None = None,
        augment: bool = False,
        wet_sampling: float = 0.0,
        train_sequences: int | None = None,
        validation_sequences: int | None = None,
        test_sequences: int | None = None,
        zr: Sequence[float] = (200.0, 1.6),
        synthetic: Mapping[str, Any] | None = None,
        index: str | None = None,
        cache_bytes: int = 512 << 20,
        prefetch: int = 4,
        threads: int = 1,
        progress: bool = True,
    ):
        self.input_frames = check_whole("RadarEcho", "input_frames", input_frames, 1, arguments.MOST_FRAMES)
        self.target_frames = check_whole("RadarEcho", "target_frames", target_frames, 1, arguments.MOST_FRAMES)
        length = self.input_frames + self.target_frames
        stride = check_whole("RadarEcho", "stride", stride, 1, None)
        multiple = check_whole("RadarEcho", "multiple", multiple, 1, None)
        coarsen = check_whole("RadarEcho", "coarsen", coarsen, 1, None)
        cache_bytes = check_whole("RadarEcho", "cache_bytes", cache_bytes, 0, None)
        self._prefetch = check_whole("RadarEcho", "prefetch", prefetch, 1, 1000)
        self._threads = check_whole("RadarEcho", "threads", threads, 1, 1000)
        self._augment = augment
        counts = {"train": train_sequences, "validation": validation_sequences, "test": test_sequences}
        for name, count in counts.items():
            if count is not None:
                check_whole("RadarEcho", f"{name}_sequences", count, 1, arguments.MOST_SEQUENCES)
        shares = arguments.split_shares(split)
        dates = None if split_dates is None else arguments.split_dates(split_dates)
        size = None if frame_size is None else arguments.sides("RadarEcho", "frame_size", frame_size)
        least_known = arguments.share("least_known", least_known)
        wet_sampling = arguments.share("wet_sampling", wet_sampling)

        self._events: RadarEvents | None = None
        self._record: dict[str, Any] = {}
        given = {"archive": archive, "validation_archive": validation_archive, "test_archive": test_archive}
        places = {name: arguments.paths(name, value) for name, value in given.items() if value is not None}
        if dates is not None and set(places) != {"archive"}:
            raise ValueError(
                "[RadarEcho] 'split_dates' are for an 'archive' that all splits share. Give one, without "
                "'validation_archive' and 'test_archive', or leave 'split_dates' out."
            )
        if archive is None:
            if places:
                raise ValueError(
                    f"[RadarEcho] '{next(iter(places))}' needs an 'archive' to train on. To use all of an archive "
                    "for one split, name it as 'archive' with a 'split' such as [0, 0, 1]."
                )
            if coarsen > 1:
                raise ValueError(
                    f"[RadarEcho] 'coarsen' must be 1 for the synthetic radar but got {coarsen}. Set its 'pixel_km'."
                )
            check_memory(
                "RadarEcho",
                "a sequence of 'input_frames' and 'target_frames' of 'frame_size'",
                # Some arrays of a domain that is larger than the frame, and some of all frames.
                (100 + 16 * length) * math.prod(size or (_SYNTHETIC_SIDE, _SYNTHETIC_SIDE)),
            )
            self._radar = _synthetic(size, length, synthetic or {})
            size = self._radar.frame_size
            self._sizes = {name: counts[name] or _SYNTHETIC_SEQUENCES[name] for name in SPLITS}
            self.units, self.frame_interval = "mm/h", float(self._radar.step_minutes)
            self.pixel_km: float | None = float(self._radar.pixel_km)
        else:
            cache = FrameCache(cache_bytes)
            settings: dict[str, Any] = {"format": format, "options": reader, "cache": index, "zr": zr}
            archives = {
                split: [Archive(path, **settings, cache_bytes=cache, progress=progress) for path in places[name]]
                for split, name in zip(SPLITS, given, strict=True)
                if name in places
            }
            self._events = RadarEvents(
                archives,
                shares=shares,
                dates=dates,
                length=length,
                stride=stride,
                frame_size=size,
                multiple=multiple,
                coarsen=coarsen,
                least_known=least_known,
                wet_sampling=wet_sampling,
                sequences=counts,
            )
            size, self._sizes, self.units = self._events.frame_size, self._events.sizes, self._events.units
            self.frame_interval, self.pixel_km = _spacing(self._events.archives, coarsen)
            self._record = {"split": [shares[name] for name in SPLITS], "zr": [float(value) for value in zr]}
            if dates is not None:
                self._record["split"] = [str(date) for date in dates]
        self.frame_shape = (*size, 1)

        self.transform = default_transform(self.units) if transform is None else transform
        if self.transform.units != self.units:
            raise ValueError(
                f"[RadarEcho] 'transform' must be for {self.units}, the units of the data, but "
                f"{type(self.transform).__name__} is for {self.transform.units}. Choose another one, or set the "
                "reader's 'units'."
            )
        chosen = _THRESHOLDS[self.units] if thresholds is None else thresholds
        self.thresholds = arguments.rising("thresholds", chosen)

    def size(self, split: str) -> int:
        """Number of sequences in an epoch of ``split``: ``"train"``, ``"validation"`` or ``"test"``."""
        if split not in SPLITS:
            raise ValueError(f"[RadarEcho] 'split' must be one of {', '.join(SPLITS)} but got {split!r}.")
        return self._sizes[split]

    def stream(
        self,
        split: str,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> BatchStream:
        """One epoch of batches of ``split``, from batch number ``start``; see :func:`convlstm.datasets.stream.batches`.

        A batch is a dict of ``inputs`` (N, input_frames, H, W, 1), ``targets`` (N, target_frames, H, W, 1), float32
        in [0, 1], and ``mask`` and ``input_mask``, bool of their shapes, set where the target, or the input, is known.
        The last, partial batch is dropped for training and kept otherwise.
        """
        self._check_filled(split)
        return batches(
            self.size(split),
            lambda index: self.sample(split, index, seed=seed, epoch=epoch),
            batch_size,
            seed=seed,
            epoch=epoch,
            start=start,
            rank=rank,
            ranks=ranks,
            drop_last=split == "train",
            prefetch=self._prefetch,
            threads=self._threads,
        )

    def indices(self, split: str, batch_size: int, number: int, *, seed: int = 0, epoch: int = 0) -> list[int]:
        """The sequences in batch ``number`` of :meth:`stream`, each an ``index`` of :meth:`sample`."""
        return batch_indices(self.size(split), batch_size, number, seed=seed, epoch=epoch)

    def sample(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> dict[str, np.ndarray]:
        """Sequence ``index`` of ``split``: ``inputs`` (T, H, W, 1), ``targets``, ``mask`` and ``input_mask``.

        A function of the arguments. ``seed`` and ``epoch`` matter to training sequences only.
        """
        index, seed, epoch = self._key(split, index, seed, epoch)
        key = (SPLITS.index(split), seed, epoch, index)
        if self._events is None:
            frames = self._radar.sample(np.random.default_rng(key))
        else:
            frames = self._events.frames(split, index, seed, epoch)
        if self._augment and split == "train":
            frames = _turned(frames, np.random.default_rng([*key, 2]))
        y = self.transform.forward(frames)
        known = ~np.isnan(y)
        y = np.where(known, y, np.float32(0))[..., None]
        start = self.input_frames
        known = known[..., None]
        return {"inputs": y[:start], "targets": y[start:], "mask": known[start:], "input_mask": known[:start]}

    def physical(self, x: np.ndarray) -> np.ndarray:
        """Values on the model's scale, of any shape, in :attr:`units`."""
        return self.transform.inverse(np.asarray(x))

    def times(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> np.ndarray | None:
        """Times (UTC) of the frames of a sequence, datetime64[s] of (T_in + T_out,); None of synthetic ones."""
        key = self._key(split, index, seed, epoch)
        return None if self._events is None else self._events.times(split, *key)

    def describe(self) -> dict:
        """What the sequences are made of, as a record for JSON."""
        source = {"synthetic": self._radar.describe()} if self._events is None else self._events.describe()
        return {
            "name": "radar_echo",
            **source,
            **self._record,
            "sequences": dict(self._sizes),
            "frame_shape": list(self.frame_shape),
            "input_frames": self.input_frames,
            "target_frames": self.target_frames,
            "frame_interval": self.frame_interval,
            "pixel_km": self.pixel_km,
            "units": self.units,
            "transform": self.transform.describe(),
            "thresholds": list(self.thresholds),
            "augment": self._augment,
        }

    def _key(self, split: str, index: int, seed: int, epoch: int) -> tuple[int, int, int]:
        """(index, seed, epoch), of which validation and test have one each."""
        index = check_whole("RadarEcho", "index", index, 0, None)
        seed = check_whole("RadarEcho", "seed", seed, 0, None)
        epoch = check_whole("RadarEcho", "epoch", epoch, 0, None)
        self._check_filled(split)
        if index >= self.size(split):
            raise ValueError(
                f"[RadarEcho] 'index' must be below the size of {split!r} ({self.size(split)}) but got {index}."
            )
        return (index, seed, epoch) if split == "train" else (index, 0, 0)

    def _check_filled(self, split: str) -> None:
        if self.size(split) == 0:
            raise ValueError(
                f"[RadarEcho] there are no sequences of {split!r}, as its share in 'split' is 0. Give it a share, or "
                "an archive of its own."
            )


def _spacing(archives: Sequence[Archive], coarsen: int) -> tuple[float, float | None]:
    """Minutes between frames and km between pixels, of the first archive; warns where steps differ."""
    steps = {archive.name: archive.step for archive in archives}
    if len(set(steps.values())) > 1:
        said = ", ".join(f"{name} {step:g} min" for name, step in steps.items())
        warnings.warn(
            f"[RadarEcho] the archives differ in the time between frames ({said}). A model is trained on all of them "
            "alike, and lead times are counted in steps of the first.",
            stacklevel=3,
        )
    grid = archives[0].grid
    metres = grid.pixel_size is not None and grid.pixel_units == "m"
    return archives[0].step, float(np.mean(grid.pixel_size)) / 1000 * coarsen if metres else None  # type: ignore[arg-type]


def _synthetic(size: tuple[int, int] | None, frames: int, settings: Mapping[str, Any]) -> SyntheticRadar:
    known = [name for name in inspect.signature(SyntheticRadar).parameters if name not in ("frame_size", "frames")]
    for name in settings:
        if name not in known:
            raise ValueError(f"[RadarEcho] 'synthetic' has {', '.join(known)} but got {name!r}.")
    return SyntheticRadar(size or (_SYNTHETIC_SIDE, _SYNTHETIC_SIDE), frames, **settings)


def _turned(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frames (T, H, W) flipped, and turned by quarters if they are square, all alike."""
    down, right, turns = rng.integers([2, 2, 4]).tolist()
    if frames.shape[1] == frames.shape[2]:
        frames = np.rot90(frames, turns, (1, 2))
    return frames[:, :: -1 if down else 1, :: -1 if right else 1]
