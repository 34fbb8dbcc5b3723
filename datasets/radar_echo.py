"""Radar echo: sequences of rain fields, from archives of radar files or from a synthetic radar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.arguments import check_flags, check_number
from convlstm.datasets import arguments
from convlstm.datasets.archive_options import ArchiveOptions
from convlstm.datasets.archive_sequences import ArchiveSequences
from convlstm.datasets.fitted_scales import check_clipped
from convlstm.datasets.sequence_dataset import SPLITS, SequenceDataset
from convlstm.datasets.synthetic_sequences import SyntheticSequences
from convlstm.datasets.transforms import Transform, default_transform
from convlstm.gaps import fill

import numpy as np

# Thresholds of HKO-7 (Shi et al., 2017) and of SEVIR (Veillette et al., 2020).
_THRESHOLDS = {"mm/h": (0.5, 2.0, 5.0, 10.0, 30.0), "raw": (16.0, 74.0, 133.0, 160.0, 181.0, 219.0)}


# Sequences in which values beyond the scale are counted.
_CHECKED = 16


class RadarEcho(SequenceDataset):
    """Sequences of radar frames, from archives or, by default, from a synthetic radar.

    A sequence has `input_frames + target_frames` frames, each a step of the archive after the one before. The archive
    is split by time: training is the first part, validation the next, test the last. The gap between two parts is at
    least as long as a sequence. A training sequence is a function of `(seed, epoch, index)`. A sequence of validation
    or test is a function of its index alone, and its crop is at the position with the most known pixels.

    Frames are scaled to [0, 1] by `transform`. A pixel that is missing in some input frames is interpolated in time, as
    in forecasts. One that is missing in all of them, or in a target, becomes 0, which is no rain. Missing pixels are
    not set in the masks. If a file of a sequence can no longer be read, the whole sequence is missing.

    Args:
        archive: Folder or file of radar data, or several, see `convlstm.datasets.archives.archive.Archive`. None means
            the synthetic radar. Default: None.
        validation_archive: Archives for validation only; `archive` has no validation part then. Default: None.
        test_archive: Archives for test only; `archive` has no test part then. Default: None.
        format: Format of the files, or `"auto"`. Default: `"auto"`.
        reader: Options of the format's reader. Default: none.
        split: Shares of train, validation and test; 0 for a split that is not wanted. Default: (0.7, 0.1, 0.2).
        split_dates: Dates on which validation and test begin (UTC), such as `["2019-01-01", "2019-06-01"]`, instead of
            shares. A sequence on both sides of a date is left out. Default: None, by shares.
        input_frames: Frames of `inputs`. Default: 5.
        target_frames: Frames of `targets`. Default: 20.
        stride: Frames of the archive from the start of one sequence to the next. Default: 1.
        step: Minutes from frame to frame, a multiple of the archive's step; the frames between are left out. Default:
            the archive's step.
        frame_size: Side of a crop in pixels, or `(H, W)`; None for the whole frame (128 for the synthetic radar).
            Default: None.
        multiple: Number that must divide the sides of a whole frame, which is cut to them, for models with patches or
            strides. Default: 4.
        coarsen: Side of the squares of pixels whose mean, in physical units, becomes one pixel, before the crop.
            Default: 1.
        least_known: Share of known pixels that is enough for the position of a training crop. If no position has it,
            the share of the best one is enough. Default: 0.8.
        transform: Transform to [0, 1] and back. Default: `convlstm.datasets.transforms.Reflectivity` for mm/h,
            `convlstm.datasets.transforms.Linear` for raw values.
        most_clipped: Largest share of the values that may lie beyond the transform's ends, where they are clipped.
            Default: 0.03.
        thresholds: Thresholds of scores in physical units. Default: HKO-7's for mm/h, SEVIR's for raw values.
        augment: Flip training sequences at random, and turn square ones by quarters. Default: False.
        reverse: Play half of the training sequences backwards, at random. Rain grows as often as it decays then, on
            average, whatever it does in a few events. Default: False.
        rate_factor: Rain rates of each training sequence are multiplied by a number between 1 / `rate_factor` and
            `rate_factor`, of which both ends and 1 are equally likely, as radars and seasons differ. For mm/h only.
            Default: 1.0.
        wet_sampling: Share of the training sequences whose window and crop are drawn in proportion to their share of
            pixels with rain; the others are drawn evenly. Default: 0.0.
        train_sequences: Training sequences in an epoch. Default: the number of windows, times the crops that cover the
            known part of a frame; 2000 for the synthetic radar.
        validation_sequences: Most validation sequences, evenly over the split. Default: all; 100 synthetic ones.
        test_sequences: Most test sequences, evenly over the split. Default: all; 200 synthetic ones.
        zr: `(a, b)` of Z = a R^b, for archives of reflectivity in dBZ. Default: (200.0, 1.6).
        synthetic: Arguments of `convlstm.datasets.synthetic_radar.SyntheticRadar`. Default: none.
        index: Folder of the stored indexes, see `convlstm.datasets.archives.archive.Archive`. Default: that class's.
        cache_bytes: Bytes of decoded frames to keep, of all archives together. Default: 512 MiB.
        prefetch: Batches made ahead. Default: 4.
        threads: Background threads that make them. Default: 1.
        progress: Show a bar while an archive is indexed. Default: True.

    Attributes:
        frame_shape: `(H, W, 1)`.
        units: Units of the physical values: `"mm/h"` or `"raw"`.
        thresholds: Thresholds of scores in these units.
        frame_interval: Minutes from frame to frame.
        pixel_km: Side of a pixel in km, or None if it is unknown, or differs over a grid of degrees.
        sides_km: Height and width of a pixel in the middle of the first archive's frames, or None if they are unknown.
        transform: Transform to [0, 1] and back.

    Raises:
        FileNotFoundError: If nothing exists at an archive's path.
        ValueError: If an argument is out of its range, or an archive has no usable frames, is too short or too small.
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
        step: float | None = None,
        frame_size: int | Sequence[int] | None = None,
        multiple: int = 4,
        coarsen: int = 1,
        least_known: float = 0.8,
        transform: Transform | None = None,
        most_clipped: float = 0.03,
        thresholds: Sequence[float] | None = None,
        augment: bool = False,
        reverse: bool = False,
        rate_factor: float = 1.0,
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
        super().__init__(
            "RadarEcho", input_frames=input_frames, target_frames=target_frames, prefetch=prefetch, threads=threads
        )
        check_flags("RadarEcho", augment=augment, reverse=reverse)
        self._augment, self._reverse = augment, reverse
        self._rate_factor = check_number("RadarEcho", "rate_factor", rate_factor, 1)
        synthetic = arguments.options("RadarEcho", "synthetic", synthetic)
        if not (transform is None or isinstance(transform, Transform)):
            raise ValueError(
                "[RadarEcho] 'transform' must be one of convlstm.datasets.transforms, such as Reflectivity, or of a "
                f"subclass of Transform, but got {transform!r}."
            )
        length = self.input_frames + self.target_frames
        options = ArchiveOptions(
            "RadarEcho",
            archive=archive,
            validation_archive=validation_archive,
            test_archive=test_archive,
            format=format,
            reader=reader,
            split=split,
            split_dates=split_dates,
            stride=stride,
            step=step,
            frame_size=frame_size,
            multiple=multiple,
            coarsen=coarsen,
            least_known=least_known,
            wet_sampling=wet_sampling,
            train_sequences=train_sequences,
            validation_sequences=validation_sequences,
            test_sequences=test_sequences,
            zr=zr,
            index=index,
            cache_bytes=cache_bytes,
            progress=progress,
        )
        if archive is None and (options.coarsen, options.step) != (1, None):
            raise ValueError(
                "[RadarEcho] 'coarsen' and 'step' are for an 'archive'. Set 'pixel_km' and 'step_minutes' of the "
                "'synthetic' radar instead."
            )
        self._sequences: ArchiveSequences | SyntheticSequences
        if archive is None:
            self._sequences = SyntheticSequences(options.crop, length, synthetic, options.sizes)
        else:
            self._sequences = options.sequences(length)
        self._sizes, self.frame_shape = self._sequences.sizes, (*self._sequences.frame_size, 1)
        self.units = self._sequences.units
        if self._rate_factor > 1 and self.units != "mm/h":
            raise ValueError(
                f"[RadarEcho] 'rate_factor' is for rain in mm/h but the values are {self.units}: leave it at 1."
            )
        self.frame_interval, self.pixel_km = self._sequences.frame_interval, self._sequences.pixel_km
        self.sides_km = self._sequences.sides_km

        self.transform = default_transform(self.units) if transform is None else transform
        if self.transform.units != self.units:
            raise ValueError(
                f"[RadarEcho] 'transform' must be for {self.units}, the units of the data, but "
                f"{type(self.transform).__name__} is for {self.transform.units}. Choose another one, or set the "
                "reader's 'units'."
            )
        if archive is not None and self.transform != default_transform("mm/h"):
            # The default scale of rain clips no rain that falls on earth.
            self._check_clipped(arguments.number("RadarEcho", "most_clipped", most_clipped, 0, 1))
        thresholds = _THRESHOLDS[self.units] if thresholds is None else thresholds
        self.thresholds = arguments.rising("RadarEcho", "thresholds", thresholds)

    def _check_clipped(self, most: float) -> None:
        split = "train" if self._sizes["train"] else "test"
        numbers = np.linspace(0, self._sizes[split] - 1, min(self._sizes[split], _CHECKED)).round().astype(int)
        frames = [self._sequences.frames(split, *self._key(split, int(n), 0, 0)) for n in numbers]
        name = self._sequences.archives[0].name  # type: ignore[union-attr]
        check_clipped("RadarEcho", name, self.transform, np.stack(frames), most, "transform")

    def sample(
        self, split: str, index: int, *, seed: int = 0, epoch: int = 0, truth: bool = False
    ) -> dict[str, np.ndarray]:
        """Returns sequence `index` of `split`, a function of the arguments.

        It has `inputs` (T_in, H, W, 1) and `targets` (T_out, H, W, 1), float32 in [0, 1], and `input_mask` and `mask`,
        bool of their shapes, True where the input, or the target, is known. With `truth` it also has `truth`, the
        targets in `units` as they were read, NaN where unknown: scores are of these, since the transform clips and
        rounds. `seed` and `epoch` matter to training sequences only.
        """
        key = self._key(split, index, seed, epoch)
        frames = self._sequences.frames(split, *key)
        if self._augment and split == "train":
            frames = _turned(frames, np.random.default_rng([SPLITS.index(split), *key, 2]))
        if self._backwards(split, key):
            frames = frames[::-1]
        if self._rate_factor > 1 and split == "train":
            power = np.random.default_rng([SPLITS.index(split), *key, 4]).uniform(-1, 1)
            frames = frames * np.float32(self._rate_factor**power)
        y = self.transform.forward(frames)[..., None]
        known, start = ~np.isnan(y), self.input_frames
        inputs, _ = fill(y[None, :start])
        targets = np.where(known[start:], y[start:], np.float32(0))
        arrays = {"inputs": inputs[0], "targets": targets, "mask": known[start:], "input_mask": known[:start]}
        return arrays | {"truth": frames[start:, ..., None]} if truth else arrays

    def physical(self, x: np.ndarray) -> np.ndarray:
        """Returns values on the model's scale, of any shape, in `units`."""
        return self.transform.inverse(np.asarray(x))

    def times(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> np.ndarray | None:
        """Returns the times (UTC) of a sequence's frames, datetime64[s] of (T_in + T_out,); None for synthetic ones."""
        key = self._key(split, index, seed, epoch)
        times = self._sequences.times(split, *key)
        return times[::-1] if times is not None and self._backwards(split, key) else times

    def _backwards(self, split: str, key: tuple[int, int, int]) -> bool:
        if not self._reverse or split != "train":
            return False
        return bool(np.random.default_rng([SPLITS.index(split), *key, 3]).integers(2))

    @property
    def turns_quarters(self) -> bool:
        """True if training turns square frames by quarters."""
        return self._augment

    def describe(self) -> dict:
        """Returns a record of the sequences for JSON."""
        return {
            "name": "radar_echo",
            **self._sequences.describe(),
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
            # Descriptions of earlier versions lack these.
            **({"reverse": True} if self._reverse else {}),
            **({"rate_factor": self._rate_factor} if self._rate_factor > 1 else {}),
        }


def _turned(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the frames (T, H, W) flipped, and turned by quarters if they are square, all alike."""
    down, right, turns = rng.integers([2, 2, 4]).tolist()
    if frames.shape[1] == frames.shape[2]:
        frames = np.rot90(frames, turns, (1, 2))
    return frames[:, :: -1 if down else 1, :: -1 if right else 1]
