"""The channels of a model: fields on their scales, and what is known of the time and the place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convlstm.datasets.calendar_steps import moved
from convlstm.datasets.extras import EXTRAS, Degrees, extra_input, needed
from convlstm.datasets.maps import Maps, outline, same_place, spelled
from convlstm.datasets.readers.grid import Field, Grid
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity, Standard, Transform
from convlstm.datasets.windows import step_of
from convlstm.gaps import Missing, fill

import numpy as np

__all__ = ["EXTRAS", "Channel", "Channels", "Degrees"]

# The value of a pixel that no input frame has: the middle of a scale.
_ABSENT = 0.5
_SCALES: dict[str, type[Transform]] = {kind.__name__: kind for kind in (Linear, LogRain, Reflectivity, Standard)}


@dataclass(frozen=True)
class Channel:
    """A field and its scale.

    Args:
        field: Name, units and description.
        scale: From its values to [0, 1].
        change: From its changes since the last input frame, or its departures from the climatology, to [0, 1]; None
            if the values themselves are forecast. Default: None.
    """

    field: Field
    scale: Transform
    change: Transform | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Channel:
        """Returns the channel of a record of `describe`."""
        scales = {name: _scale(record[name]) for name in ("scale", "change") if name in record}
        return cls(Field(**record["field"]), **scales)

    def describe(self) -> dict[str, Any]:
        """Returns a record for JSON."""
        change = {} if self.change is None else {"change": self.change.describe()}
        return {"field": self.field.describe(), "scale": self.scale.describe(), **change}


class Channels:
    """The way from the fields of an archive to a model's channels, and back.

    The input channels are, in this order: the fields; if changes are forecast, the fields of the last input frame, or
    if departures from the climatology are, the climatology of the input frames; the fixed fields; and the extras. All
    are in [0, 1]. The output channels are the targets.

    Args:
        fields: The fields of a frame, `Channel` objects or their records.
        targets: Names of the fields to forecast. Default: all.
        extras: Further inputs, of `EXTRAS`. Default: none.
        static: Fixed fields, likewise. Default: none.
        climatology: Kind of the climatology whose departures are forecast, of `convlstm.datasets.climatology.KINDS`.
            Default: None.
        step: Minutes from frame to frame, for the climatology of a forecast from a single frame. Default: unknown.
        grid: Record of `convlstm.datasets.maps.outline` for fixed fields and a climatology. Default: none.
        arrays: Their values by name, as `convlstm.datasets.maps.Maps` has them. Default: none.
        sha256: Digest that the arrays must have. Default: any.

    Attributes:
        maps: Fixed fields and climatology on the grid of a frame, or None.
        whole: The channels of the whole grid, if these are those of a part.

    Raises:
        ValueError: If a target is no field, an extra is unknown, or arrays are missing or have another digest.
    """

    def __init__(
        self,
        fields: Sequence[Channel | Mapping[str, Any]],
        targets: Sequence[str] | None = None,
        extras: Sequence[str] = (),
        *,
        static: Sequence[Channel | Mapping[str, Any]] = (),
        climatology: str | None = None,
        step: float | None = None,
        grid: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        sha256: str | None = None,
    ):
        self.fields = [one if isinstance(one, Channel) else Channel.of(one) for one in fields]
        names = [channel.field.name for channel in self.fields]
        wanted = names if targets is None else list(targets)
        for what, given, known in (("targets", wanted, names), ("extras", extras, list(EXTRAS))):
            for name in given:
                if name not in known:
                    raise ValueError(f"[Channels] '{what}' must be some of {', '.join(known)} but got {name!r}.")
        if not wanted:
            raise ValueError(f"[Channels] 'targets' must be one or more of {', '.join(names)} but got none.")
        self.target_channels = [names.index(name) for name in wanted]
        self.extras = list(extras)
        self.static = [one if isinstance(one, Channel) else Channel.of(one) for one in static]
        self.climatology, self.step, self.whole = climatology, step, self
        self.maps = Maps.of(grid or {}, arrays or {}, climatology) if self.static or climatology else None
        if self.static and (self.maps is None or self.maps.static is None):
            raise ValueError("[Channels] 'arrays' must have the fixed fields, 'static', but have not.")
        if self.maps is not None and sha256 is not None and self.maps.digest != sha256:
            raise ValueError("[Channels] 'arrays' must be those of the record, but their digest is another.")

    @property
    def targets(self) -> list[Channel]:
        """The fields to forecast."""
        return [self.fields[number] for number in self.target_channels]

    @property
    def changes(self) -> bool:
        """True if changes since the last input frame, or departures from the climatology, are forecast."""
        return self.fields[0].change is not None

    @property
    def inputs_count(self) -> int:
        """Number of the model's input channels."""
        fields = len(self.fields) * (2 if self.changes else 1)
        return fields + len(self.static) + sum(EXTRAS[name] for name in self.extras)

    def inputs(
        self, frames: np.ndarray, times: np.ndarray | None = None, degrees: Degrees | None = None
    ) -> tuple[np.ndarray, Missing]:
        """Returns the model's inputs (N, T, H, W, `inputs_count`), float32 in [0, 1], and the missing parts.

        A pixel that is missing in some frames is interpolated in time; one that is missing in all of them is 0.5.

        Args:
            frames: Physical values of the input frames (N, T, H, W, C), NaN where missing.
            times: Their times, datetime64[s] of (N, T), for the climatology and the extras that need them. Default:
                none.
            degrees: Latitude and longitude of the pixels, (H, W) each, likewise. Default: none.

        Raises:
            ValueError: If the frames have other channels or are not of the grid of the maps, or times or degrees are
                needed that are not given.
        """
        if frames.ndim != 5 or frames.shape[-1] != len(self.fields):
            names = ", ".join(channel.field.name for channel in self.fields)
            raise ValueError(
                f"[Channels] 'frames' must be (N, T, H, W, {len(self.fields)}), with the fields {names}, but got "
                f"{frames.shape}."
            )
        self._check_grid_of(frames)
        filled, missing = fill(frames, np.nan)
        base = self._base(filled, times)
        scaled = self._scaled(filled if base is None else filled - base, self.fields, self.changes)
        parts = [scaled]
        if base is not None:
            parts.append(np.broadcast_to(self._scaled(base, self.fields, False), scaled.shape))
        if self.maps is not None and self.maps.static is not None:
            static = self._scaled(self.maps.static, self.static, False)
            parts.append(np.broadcast_to(static, (*frames.shape[:4], len(self.static))))
        for name in self.extras:
            extra = extra_input(name, self.of_targets(missing.never), times, degrees)
            parts.append(np.broadcast_to(extra, (*frames.shape[:4], extra.shape[-1])))
        inputs = np.concatenate(parts, axis=-1, dtype=np.float32)
        return np.where(np.isnan(inputs), np.float32(_ABSENT), inputs), missing

    def scaled_targets(self, frames: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        """Returns the targets on the model's scale, float32 of (N, T, H, W, targets), NaN where missing.

        Args:
            frames: Physical values of the target frames (N, T, H, W, C).
            reference: Their `reference` if changes are forecast. Default: none.
        """
        return self.scaled(self.of_targets(frames), reference)

    def reference(self, frames: np.ndarray, times: np.ndarray | None = None, count: int = 1) -> np.ndarray | None:
        """Returns the targets' values that changes add to, or None if the values themselves are forecast.

        They are (N, 1, H, W, targets), the last input frame, or (N, count, H, W, targets), the climatology.

        Args:
            frames: Physical values of the input frames (N, T, H, W, C), NaN where missing.
            times: Their times, datetime64[s] of (N, T), for the climatology. Default: none.
            count: Number of frames of the forecast, for the climatology. Default: 1.

        Raises:
            ValueError: If the climatology needs times that are not given, or has no mean for one of them.
        """
        if self.maps is not None and self.maps.climatology is not None:
            self._check_grid_of(frames)
            return self.of_targets(self.maps.climatology.at(self._later(needed(times, "the climatology"), count)))
        return fill(self.of_targets(frames), np.nan)[0][:, -1:] if self.changes else None

    def input_reference(self, times: np.ndarray) -> np.ndarray | None:
        """Returns the climatology (N, T, H, W, targets) of input frames at times (N, T); None if there is none."""
        climatology = None if self.maps is None else self.maps.climatology
        return None if climatology is None else self.of_targets(climatology.at(times))

    def part(self, top: int, left: int, height: int, width: int) -> Channels:
        """Returns the channels for frames of a part of the grid, whose fixed fields and climatology are cut to it."""
        if self.whole.maps is None:
            return self
        channels = copy.copy(self.whole)
        channels.maps = self.whole.maps.part(top, left, height, width)
        return channels

    def check_place(self, grid: Grid, coarsen: int = 1) -> None:
        """Raises ValueError if there are fixed fields or a climatology, and a grid is not theirs.

        Args:
            grid: Grid of the files.
            coarsen: Side in pixels of the squares that become one pixel. Default: 1.
        """
        maps = self.whole.maps
        if maps is not None and not same_place(maps.grid, given := outline(grid, coarsen)):
            raise ValueError(
                f"[Channels] the fixed fields or the climatology of the model are of {spelled(maps.grid)}, so its "
                f"input must be of the same grid, but it is of {spelled(given)}. Give it that, or a model without them."
            )

    def physical(self, y: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        """Returns the physical values of forecasts (..., targets) in [0, 1].

        Values beyond [0, 1] are clipped, unless departures from a climatology are forecast.

        Args:
            y: Forecasts on the model's scale.
            reference: The values that changes add to, as `reference` returns them. Default: none.
        """
        scales = [channel.change or channel.scale for channel in self.targets]
        inverse = _line_back if self.climatology else lambda scale, y: scale.inverse(y)
        values = np.stack([inverse(scale, y[..., n]) for n, scale in enumerate(scales)], axis=-1)
        return values if reference is None else (values + reference).astype(np.float32)

    def scaled(self, values: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        """Returns physical values of targets (..., targets) on the model's scale, clipped to [0, 1]."""
        return self._scaled(values if reference is None else values - reference, self.targets, self.changes)

    def unclipped(self, values: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Returns `scaled` without clipping, for departures from a climatology; the inverse of `physical`."""
        departures = values - reference
        scales = [channel.change or channel.scale for channel in self.targets]
        return np.stack([_line(scale, departures[..., n]) for n, scale in enumerate(scales)], axis=-1)

    def of_targets(self, frames: np.ndarray) -> np.ndarray:
        """Returns the channels of the targets (..., targets) of frames (..., C)."""
        return frames[..., self.target_channels]

    def target_units(self) -> str:
        """Returns the units of the targets, such as `"degC"`, or `"degC, m s-1"` for several."""
        return ", ".join(dict.fromkeys(target.field.units for target in self.targets))

    def clipped(self, frames: np.ndarray, times: np.ndarray | None = None) -> dict[str, float]:
        """Returns the share of the known values beyond the scale of each field, by name.

        Args:
            frames: Physical values (..., C), NaN where missing.
            times: Times of frames (N, T, H, W, C), so that departures from the climatology count as well. Default:
                none.
        """
        shares = {one.field.name: one.scale.clipped(frames[..., n]) for n, one in enumerate(self.fields)}
        if times is None or self.maps is None or self.maps.climatology is None:
            return shares
        self._check_grid_of(frames)
        departures = frames - self.maps.climatology.at(times)
        for n, one in enumerate(self.fields):
            if one.change is not None:
                shares[one.field.name] = max(shares[one.field.name], one.change.clipped(departures[..., n]))
        return shares

    def describe(self) -> dict[str, Any]:
        """Returns the arguments as a record for JSON."""
        return {
            "fields": [channel.describe() for channel in self.fields],
            "targets": [channel.field.name for channel in self.targets],
            "extras": self.extras,
            **self._described_maps(),
        }

    def _described_maps(self) -> dict[str, Any]:
        if self.whole.maps is None:
            return {}
        record: dict[str, Any] = {"grid": dict(self.whole.maps.grid), "sha256": self.whole.maps.digest}
        if self.static:
            record["static"] = [channel.describe() for channel in self.static]
        return record | ({} if self.climatology is None else {"climatology": self.climatology, "step": self.step})

    def _base(self, filled: np.ndarray, times: np.ndarray | None) -> np.ndarray | None:
        """Returns what is subtracted from the fields of the input frames: climatology, last frame, or None."""
        if self.maps is not None and self.maps.climatology is not None:
            return self.maps.climatology.at(needed(times, "the climatology"))
        return filled[:, -1:] if self.changes else None

    def _later(self, times: np.ndarray, count: int) -> np.ndarray:
        """Returns the times of the frames after those at `times`, (N, T) -> (N, count)."""
        if times.shape[1] > 1:
            step = step_of(times[0].astype("datetime64[s]"), np.zeros(times.shape[1], int))
        elif self.step is None:
            raise ValueError("[Channels] 'times' must be two or more, as the step of the model's frames is not known.")
        else:
            step = self.step
        return np.stack([moved(each[-1], np.arange(1, count + 1), step, each) for each in times])

    def _check_grid_of(self, frames: np.ndarray) -> None:
        if self.maps is not None and frames.shape[2:4] != self.maps.shape:
            raise ValueError(
                f"[Channels] 'frames' must be {self.maps.shape[0]} x {self.maps.shape[1]}, the grid of the model's "
                f"fixed fields or climatology, but got {frames.shape[2]} x {frames.shape[3]}. For a part of the grid, "
                "take `channels.part(top, left, height, width)`, in Forecaster as its `scale`."
            )

    def _scaled(self, values: np.ndarray, channels: Sequence[Channel], change: bool) -> np.ndarray:
        scales = [channel.change if change else channel.scale for channel in channels]
        return np.stack([scale.forward(values[..., n]) for n, scale in enumerate(scales) if scale], axis=-1)


def _line(scale: Transform, values: np.ndarray) -> np.ndarray:
    low, high = map(np.float32, scale.ends())
    return (values - low) / (high - low)


def _line_back(scale: Transform, y: np.ndarray) -> np.ndarray:
    low, high = map(np.float32, scale.ends())
    return low + y * (high - low)


def _scale(record: Mapping[str, Any]) -> Transform:
    arguments = dict(record)
    name = arguments.pop("name", None)
    if name not in _SCALES:
        raise ValueError(f"[Channels] a scale must be one of {', '.join(_SCALES)} but got {name!r}.")
    return _SCALES[name](**arguments)
