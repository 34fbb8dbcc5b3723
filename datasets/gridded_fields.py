"""Fields on a grid: sequences of one or several fields of archives, such as temperature, waves or wind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.arguments import check_flags
from convlstm.datasets import arguments
from convlstm.datasets.archive_options import ArchiveOptions
from convlstm.datasets.channels import Channel, Channels, Degrees
from convlstm.datasets.climatology import Climatology, check_kind
from convlstm.datasets.fitted_scales import check_clipped, check_fill, scale_choices, scale_of, scale_of_changes
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.sequence_dataset import SPLITS, SequenceDataset
from convlstm.datasets.static_fields import FoundMaps, maps_of
from convlstm.gaps import fill

import numpy as np

# Sequences from which the scales are fitted.
_FITTED_ON = 64


class GriddedFields(SequenceDataset):
    """Sequences of frames of one or several fields, from archives of any format.

    Inputs are the fields, each on a scale of its own, and extras. Targets are some of the fields, or all. A pixel that
    is missing in some input frames is interpolated in time, as in forecasts; one that is missing in all of them, such
    as land in a field of the sea, is 0.5, the middle of the scale. Missing targets are not set in the mask.

    Splits, crops and sampling are those of `convlstm.datasets.radar_echo.RadarEcho`.

    Args:
        archive: Folder or file, or several, see `convlstm.datasets.archives.archive.Archive`.
        validation_archive: Archives for validation only. Default: None, a part of `archive`.
        test_archive: Archives for test only. Default: None, a part of `archive`.
        format: Format of the files, or `"auto"`. Default: `"auto"`.
        reader: Options of the format's reader, such as `{"select": {"level": 500}}`. Default: none.
        variable: Name of the field in the files, or of several. A field without times, such as the height of the
            ground, is the same in all frames. Default: the only one.
        targets: Names of the fields to forecast. Default: all.
        extras: Further inputs, of `convlstm.datasets.channels.EXTRAS`. Default: none.
        scale: Scale of the fields: `"range"`, the range of the training split and a tenth more on both sides;
            `"standard"`, its mean and standard deviation; or by name of the field one of these or numbers, such as
            `{"sst": {"minimum": -2, "maximum": 35}, "wind": {"mean": 0, "std": 5}}`. Rain has the scale of
            `convlstm.datasets.transforms.Reflectivity`. Default: `"range"`.
        changes: If True, the model forecasts changes since the last input frame. Default: False.
        climatology: Kind of the climatology of the training split whose departures the model forecasts, one of
            `convlstm.datasets.climatology.KINDS`. Default: None, no climatology.
        static: File of fixed fields on the same grid, such as the height of the ground, or `{"file": PATH, "variable":
            NAME}`, also with several names, and with `"format"` and `"reader"`. Default: none.
        most_clipped: Largest share of the values of a field that may lie beyond its scale, where they are clipped.
            Default: 0.03.
        split, split_dates: As for `RadarEcho`. Default: shares of 0.7, 0.1 and 0.2.
        input_frames: Frames of `inputs`. Default: 10.
        target_frames: Frames of `targets`. Default: 10.
        stride: Frames of the archive from the start of one sequence to the next. Default: 1.
        step: Minutes from frame to frame, a multiple of the archive's step. Default: the archive's step.
        frame_size, multiple, coarsen, least_known: As for `RadarEcho`, but a crop may be unknown wholly. Default: the
            whole frame, cut to multiples of 4.
        thresholds: Lowest values of the events that are scored, in the units of the only target. Default: none.
        train_sequences, validation_sequences, test_sequences: Most sequences of a split. Default: all.
        index, cache_bytes, prefetch, threads, progress: As for `RadarEcho`.
        channels: Channels of a checkpoint, whose scales, fixed fields and climatology are taken as they are. Default:
            None, they are fitted to the training split.

    Attributes:
        channels: The fields with their scales, the targets and the extras.
        maps: Fixed fields and climatology by name, arrays on the whole grid; empty if there are none.
        frame_shape: `(H, W, C)` of inputs.
        target_fields: The fields of the targets.
        frame_interval: Minutes from frame to frame.
        pixel_km: Side of a pixel in km, or None if it is unknown, or differs over a grid of degrees.
        thresholds: Lowest values of the events that are scored.

    Raises:
        FileNotFoundError: If nothing exists at an archive's path.
        ValueError: If an argument is out of its range, an archive has no usable frames, is too short or too small, or
            too many values lie beyond a scale.
    """

    def __init__(
        self,
        *,
        archive: str | Sequence[str],
        validation_archive: str | Sequence[str] | None = None,
        test_archive: str | Sequence[str] | None = None,
        format: str = "auto",
        reader: Mapping[str, Any] | None = None,
        variable: str | Sequence[str] | None = None,
        targets: str | Sequence[str] | None = None,
        extras: Sequence[str] = (),
        scale: str | Mapping[str, Any] = "range",
        changes: bool = False,
        climatology: str | None = None,
        static: str | Mapping[str, Any] | None = None,
        most_clipped: float = 0.03,
        split: Sequence[float] = (0.7, 0.1, 0.2),
        split_dates: Sequence[str] | None = None,
        input_frames: int = 10,
        target_frames: int = 10,
        stride: int = 1,
        step: float | None = None,
        frame_size: int | Sequence[int] | None = None,
        multiple: int = 4,
        coarsen: int = 1,
        least_known: float = 0.0,
        thresholds: Sequence[float] | None = None,
        train_sequences: int | None = None,
        validation_sequences: int | None = None,
        test_sequences: int | None = None,
        index: str | None = None,
        cache_bytes: int = 512 << 20,
        prefetch: int = 4,
        threads: int = 1,
        progress: bool = True,
        channels: Channels | None = None,
    ):
        super().__init__(
            "GriddedFields", input_frames=input_frames, target_frames=target_frames, prefetch=prefetch, threads=threads
        )
        if archive is None:
            raise ValueError("[GriddedFields] 'archive' must be a path or a list of paths but got None.")
        check_flags("GriddedFields", changes=changes)
        if climatology is not None:
            check_kind("GriddedFields", "climatology", climatology)
            if changes:
                raise ValueError(
                    "[GriddedFields] 'changes' must be False with 'climatology' but got True: a model forecasts "
                    "changes or departures."
                )
        most_clipped = arguments.number("GriddedFields", "most_clipped", most_clipped, 0, 1)
        extras = arguments.texts("GriddedFields", "extras", extras)
        if variable is not None:
            names = arguments.texts("GriddedFields", "variable", variable)
            reader = arguments.options("GriddedFields", "reader", reader) | {"variable": names}
        options = ArchiveOptions(
            "GriddedFields",
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
            wet_sampling=0.0,
            train_sequences=train_sequences,
            validation_sequences=validation_sequences,
            test_sequences=test_sequences,
            zr=(200.0, 1.6),
            index=index,
            cache_bytes=cache_bytes,
            progress=progress,
        )
        if not (channels is None or isinstance(channels, Channels)):
            raise ValueError(
                f"[GriddedFields] 'channels' must be those of a checkpoint, `data.channels`, but got {channels!r}."
            )
        self._sequences = sequences = options.sequences(self.input_frames + self.target_frames)
        self._sizes, self._coarsen = sequences.sizes, options.coarsen
        self.frame_interval, self.pixel_km = sequences.frame_interval, sequences.pixel_km
        names = [field.name for field in sequences.fields]
        self._check_extras(extras)
        wanted = None if targets is None else arguments.texts("GriddedFields", "targets", targets)
        choices = scale_choices("GriddedFields", scale, names)
        if channels is None:
            maps = maps_of(sequences, options.coarsen, climatology, static, names, progress)
            channels = self._fitted(choices, wanted, extras, changes, maps)
        elif [one.field.name for one in channels.fields] != names:
            raise ValueError(
                f"[GriddedFields] 'variable' must be the fields of training, "
                f"{', '.join(one.field.name for one in channels.fields)}, but the archive has {', '.join(names)}."
            )
        self.channels = channels
        for one in sequences.archives:
            channels.check_place(one.grid, options.coarsen)
        self.maps = {} if channels.maps is None else channels.maps.arrays
        if channels.maps is not None and channels.maps.climatology is not None:
            for name in (name for name in SPLITS if self._sizes[name]):
                channels.maps.climatology.check(sequences.all_times(name))
        self._check_clipped(most_clipped)
        self.frame_shape = (*sequences.frame_size, self.channels.inputs_count)
        self.target_channels = self.channels.target_channels
        self.thresholds = [] if thresholds is None else self._checked_thresholds(thresholds)

    @property
    def target_fields(self) -> list[Field]:
        return [channel.field for channel in self.channels.targets]

    def sample(
        self, split: str, index: int, *, seed: int = 0, epoch: int = 0, truth: bool = False
    ) -> dict[str, np.ndarray]:
        """Returns sequence `index` of `split`, a function of the arguments.

        It has `inputs` (T_in, H, W, C) and `targets` (T_out, H, W, C_out), float32 in [0, 1], and `mask`, bool of the
        targets' shape, and `input_mask`, bool (T_in, H, W, C), True where the value is known. With `truth` it
        also has `truth`, the targets' physical values, NaN where missing, and if the model forecasts changes
        `reference`, the values that they add to: (1, H, W, C_out), or (T_out, H, W, C_out) of a climatology, and then
        also `input_reference`, that of the inputs. `seed` and `epoch` matter to training sequences only.
        """
        key = self._key(split, index, seed, epoch)
        frames, start = self._frames(split, key), self.input_frames
        number, top, left = self._sequences.place(split, *key)
        times = self._sequences.times(split, *key)
        channels = self.channels.part(top, left, *self._sequences.frame_size)
        inputs, _ = channels.inputs(frames[None, :start], times[None, :start], self._degrees_of(number, top, left))
        if (climatology := channels.input_reference(times[None])) is None:
            reference = channels.reference(frames[None, :start])
        else:
            reference = climatology[:, start:]
        targets = channels.scaled_targets(frames[None, start:], reference)[0]
        mask = ~np.isnan(targets)
        known = np.ones(inputs[0].shape, bool)
        known[..., : frames.shape[-1]] = ~np.isnan(frames[:start])
        sample = {"inputs": inputs[0], "targets": np.where(mask, targets, 0), "mask": mask, "input_mask": known}
        if truth:
            sample["truth"] = self.channels.of_targets(frames[start:])
            if reference is not None:
                sample["reference"] = reference[0]
            if climatology is not None:
                sample["input_reference"] = climatology[0, :start]
        return sample

    def physical(self, x: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        """Returns forecasts in [0, 1], (..., C_out), in the units of the fields.

        Args:
            x: The forecasts.
            reference: `reference` of their batch if the model forecasts changes. Default: none.
        """
        return self.channels.physical(np.asarray(x), reference)

    def unclipped(self, x: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Returns values in the units of the fields on the model's scale, the inverse of `physical`.

        It is for departures from a climatology, and values beyond [0, 1] are not clipped.
        """
        return self.channels.unclipped(np.asarray(x), reference)

    def times(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
        """Returns the times (UTC) of a sequence's frames, datetime64[s] of (T_in + T_out,)."""
        return self._sequences.times(split, *self._key(split, index, seed, epoch))

    def frames(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
        """Returns the frames of a sequence in the units of the fields, (T_in + T_out, H, W, C), NaN where missing."""
        return self._frames(split, self._key(split, index, seed, epoch))

    def describe(self) -> dict:
        """Returns a record of the sequences for JSON."""
        return {
            "name": "fields",
            **self._sequences.describe(),
            "sequences": dict(self._sizes),
            "frame_shape": list(self.frame_shape),
            "input_frames": self.input_frames,
            "target_frames": self.target_frames,
            "frame_interval": self.frame_interval,
            "pixel_km": self.pixel_km,
            "channels": self.channels.describe(),
            "thresholds": list(self.thresholds),
        }

    def _frames(self, split: str, key: tuple[int, int, int]) -> np.ndarray:
        """Returns the frames of a sequence in physical units, (T, H, W, C)."""
        frames = self._sequences.frames(split, *key)
        return frames if frames.ndim == 4 else frames[..., None]

    def _some_frames(self, split: str) -> np.ndarray:
        """Returns sequences evenly over a split, (N, T, H, W, C) in physical units."""
        return np.stack([self._frames(split, self._key(split, n, 0, 0)) for n in self._some(split)])

    def _some(self, split: str) -> list[int]:
        """Returns the numbers of sequences evenly over a split."""
        numbers = np.linspace(0, self._sizes[split] - 1, min(self._sizes[split], _FITTED_ON)).round().astype(int)
        return numbers.tolist()  # type: ignore[no-any-return]

    def _fitted(
        self,
        choices: Sequence[Any],
        targets: Sequence[str] | None,
        extras: Sequence[str],
        changes: bool,
        maps: FoundMaps,
    ) -> Channels:
        """Returns the channels whose scales are fitted to the training split."""
        split = "train" if self._sizes["train"] else "test"
        frames, fields = self._some_frames(split), []
        for number, (field, choice) in enumerate(zip(self._sequences.fields, choices, strict=True)):
            values, change = frames[..., number], None
            if changes:
                last = fill(frames[:, : self.input_frames], np.nan)[0][:, -1:, ..., number]
                change = scale_of_changes(field, values - last)
            elif maps.climatology is not None:
                change = scale_of_changes(field, self._departures(split, frames, maps.climatology)[..., number])
            fields.append(Channel(field, scale_of(choice, field, values), change))
        return Channels(
            fields, targets, extras, step=self.frame_interval if maps.climatology else None, **maps.arguments
        )

    def _departures(self, split: str, frames: np.ndarray, climatology: Climatology) -> np.ndarray:
        """Returns the departures of the frames of `_some_frames` from a climatology of the whole grid."""
        keys = [self._key(split, number, 0, 0) for number in self._some(split)]
        parts = []
        for key in keys:
            _, top, left = self._sequences.place(split, *key)
            cut = climatology.part(top, left, *self._sequences.frame_size)
            parts.append(cut.at(self._sequences.times(split, *key)))
        return frames - np.stack(parts)

    def _check_clipped(self, most: float) -> None:
        frames = self._some_frames("train" if self._sizes["train"] else "test")
        for number, channel in enumerate(self.channels.fields):
            check_fill("GriddedFields", channel.field, frames[..., number])
            check_clipped("GriddedFields", channel.field.name, channel.scale, frames[..., number], most, "scale")

    def _degrees_of(self, number: int, top: int, left: int) -> Degrees | None:
        degrees = self._degrees[number]
        if degrees is None:
            return None
        height, width = self._sequences.frame_size
        return Degrees(*(values[top : top + height, left : left + width] for values in degrees))

    def _check_extras(self, extras: Sequence[str]) -> None:
        """Takes the latitudes and longitudes of the pixels if they are inputs, or raises ValueError."""
        self._degrees: list[Degrees | None] = [None] * len(self._sequences.archives)
        if not set(extras) & {"latitude", "longitude"}:
            return
        for number, archive in enumerate(self._sequences.archives):
            height, width = (side // self._coarsen for side in archive.grid.shape)
            coordinates = archive.grid.coordinates_of(0, 0, height, width, self._coarsen)
            degrees = Degrees.of(coordinates, archive.grid.dimensions, (height, width))
            if degrees is None:
                raise ValueError(
                    f"[GriddedFields] 'extras' must be some of known, day, year but got {', '.join(extras)}: the files "
                    f"of {archive.name} do not give the latitudes and longitudes of their pixels."
                )
            self._degrees[number] = degrees

    def _checked_thresholds(self, thresholds: Sequence[float]) -> list[float]:
        if len(self.channels.targets) > 1:
            raise ValueError("[GriddedFields] 'thresholds' need a single target. Leave them out, or name one target.")
        return arguments.rising("GriddedFields", "thresholds", thresholds, positive=False)
