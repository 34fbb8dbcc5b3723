"""The channels of a model: fields on their scales, and what is known of the time and the place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from convlstm.datasets.readers.grid import Coordinate, Field
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity, Standard, Transform
from convlstm.gaps import Missing, fill

import numpy as np

EXTRAS = {"known": 1, "latitude": 1, "longitude": 2, "day": 2, "year": 2}
"""Inputs beside the fields, with their numbers of channels: 1 for pixels whose targets are known in some input frame, 0
for others; the latitude; sine and cosine of the longitude, of the time of day and of the time of year (UTC)."""

# The value of a pixel that no input frame has: the middle of a scale.
_ABSENT = 0.5
_SCALES: dict[str, type[Transform]] = {kind.__name__: kind for kind in (Linear, LogRain, Reflectivity, Standard)}
_DEGREES = {"degrees_north": "latitude", "degrees_east": "longitude"}
_DAY, _YEAR = 86400.0, 365.2425 * 86400.0


@dataclass(frozen=True)
class Channel:
    """A field and its scale.

    Args:
        field: Name, units and description.
        scale: From its values to [0, 1].
        change: From its changes since the last input frame to [0, 1]; None if the values themselves are forecast.
            Default: None.
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


class Degrees(NamedTuple):
    """Latitude and longitude of the pixels of a frame in degrees, (H, W) each."""

    latitude: np.ndarray
    longitude: np.ndarray

    @classmethod
    def of(
        cls, coordinates: Iterable[Coordinate], dimensions: tuple[str, str], shape: tuple[int, int]
    ) -> Degrees | None:
        """Returns the latitudes and longitudes among coordinates, or None if they do not have both.

        Args:
            coordinates: The coordinates of a frame.
            dimensions: Names of the dimensions of rows and columns.
            shape: Height and width of the frame.
        """
        found: dict[str, np.ndarray] = {}
        for coordinate in coordinates:
            units = str(coordinate.attributes.get("units", "")).lower()
            name = str(coordinate.attributes.get("standard_name") or _DEGREES.get(units, ""))
            if name in _DEGREES.values():
                values = coordinate.values
                if values.ndim == 1:
                    values = np.expand_dims(values, 1 - dimensions.index(coordinate.dimensions[0]))
                found[name] = np.broadcast_to(values, shape)
        return cls(found["latitude"], found["longitude"]) if len(found) == 2 else None


class Channels:
    """The way from the fields of an archive to a model's channels, and back.

    The input channels are, in this order: the fields; if changes are forecast, the fields of the last input frame; and
    the extras. All are in [0, 1]. The output channels are the targets.

    Args:
        fields: The fields of a frame, `Channel` objects or their records.
        targets: Names of the fields to forecast. Default: all.
        extras: Further inputs, of `EXTRAS`. Default: none.

    Raises:
        ValueError: If a target is no field, or an extra is unknown.
    """

    def __init__(
        self,
        fields: Sequence[Channel | Mapping[str, Any]],
        targets: Sequence[str] | None = None,
        extras: Sequence[str] = (),
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

    @property
    def targets(self) -> list[Channel]:
        """The fields to forecast."""
        return [self.fields[number] for number in self.target_channels]

    @property
    def changes(self) -> bool:
        """True if changes since the last input frame are forecast."""
        return self.fields[0].change is not None

    @property
    def inputs_count(self) -> int:
        """Number of the model's input channels."""
        return len(self.fields) * (2 if self.changes else 1) + sum(EXTRAS[name] for name in self.extras)

    def inputs(
        self, frames: np.ndarray, times: np.ndarray | None = None, degrees: Degrees | None = None
    ) -> tuple[np.ndarray, Missing]:
        """Returns the model's inputs (N, T, H, W, `inputs_count`), float32 in [0, 1], and the missing parts.

        A pixel that is missing in some frames is interpolated in time; one that is missing in all of them is 0.5.

        Args:
            frames: Physical values of the input frames (N, T, H, W, C), NaN where missing.
            times: Their times, datetime64[s] of (N, T), for the extras that need them. Default: none.
            degrees: Latitude and longitude of the pixels, (H, W) each, likewise. Default: none.

        Raises:
            ValueError: If the frames have other channels, or an extra needs times or degrees that are not given.
        """
        if frames.ndim != 5 or frames.shape[-1] != len(self.fields):
            names = ", ".join(channel.field.name for channel in self.fields)
            raise ValueError(
                f"[Channels] 'frames' must be (N, T, H, W, {len(self.fields)}), with the fields {names}, but got "
                f"{frames.shape}."
            )
        filled, missing = fill(frames, np.nan)
        scaled = self._scaled(filled - filled[:, -1:] if self.changes else filled, self.fields, self.changes)
        parts = [scaled]
        if self.changes:
            parts.append(np.broadcast_to(self._scaled(filled[:, -1:], self.fields, False), scaled.shape))
        for name in self.extras:
            extra = _extra(name, self.of_targets(missing.never), times, degrees)
            parts.append(np.broadcast_to(extra, (*frames.shape[:4], extra.shape[-1])))
        inputs = np.concatenate(parts, axis=-1, dtype=np.float32)
        return np.where(np.isnan(inputs), np.float32(_ABSENT), inputs), missing

    def scaled_targets(self, frames: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        """Returns the targets on the model's scale, float32 of (N, T, H, W, targets), NaN where missing.

        Args:
            frames: Physical values of the target frames (N, T, H, W, C).
            reference: Their `reference` if changes are forecast. Default: none.
        """
        values = self.of_targets(frames)
        return self._scaled(values if reference is None else values - reference, self.targets, self.changes)

    def reference(self, frames: np.ndarray) -> np.ndarray | None:
        """Returns the targets' values (N, 1, H, W, targets) that changes add to; None if changes are not forecast.

        Args:
            frames: Physical values of the input frames (N, T, H, W, C), NaN where missing.
        """
        return fill(self.of_targets(frames), np.nan)[0][:, -1:] if self.changes else None

    def physical(self, y: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        """Returns the physical values of forecasts (..., targets) in [0, 1].

        Args:
            y: Forecasts on the model's scale.
            reference: The values that changes add to, as `reference` returns them. Default: none.
        """
        scales = [channel.change or channel.scale for channel in self.targets]
        values = np.stack([scale.inverse(y[..., n]) for n, scale in enumerate(scales)], axis=-1)
        return values if reference is None else (values + reference).astype(np.float32)

    def of_targets(self, frames: np.ndarray) -> np.ndarray:
        """Returns the channels of the targets (..., targets) of frames (..., C)."""
        return frames[..., self.target_channels]

    def target_units(self) -> str:
        """Returns the units of the targets, such as `"degC"`, or `"degC, m s-1"` for several."""
        return ", ".join(dict.fromkeys(target.field.units for target in self.targets))

    def clipped(self, frames: np.ndarray) -> dict[str, float]:
        """Returns the share of the known values beyond the scale of each field, by name.

        Args:
            frames: Physical values (..., C), NaN where missing.
        """
        return {one.field.name: one.scale.clipped(frames[..., n]) for n, one in enumerate(self.fields)}

    def describe(self) -> dict[str, Any]:
        """Returns the arguments as a record for JSON."""
        return {
            "fields": [channel.describe() for channel in self.fields],
            "targets": [channel.field.name for channel in self.targets],
            "extras": self.extras,
        }

    def _scaled(self, values: np.ndarray, channels: Sequence[Channel], change: bool) -> np.ndarray:
        scales = [channel.change if change else channel.scale for channel in channels]
        return np.stack([scale.forward(values[..., n]) for n, scale in enumerate(scales) if scale], axis=-1)


def _extra(name: str, unknown: np.ndarray, times: np.ndarray | None, degrees: Degrees | None) -> np.ndarray:
    """Returns the channels of an extra in [0, 1], in a shape that broadcasts to (N, T, H, W, channels)."""
    if name == "known":
        return 1.0 - np.any(unknown, axis=-1, keepdims=True).astype(np.float32)[:, None]
    if name in ("latitude", "longitude"):
        if degrees is None:
            raise ValueError(f"[Channels] the extra '{name}' needs the latitude and longitude of the pixels.")
        if name == "latitude":
            return ((degrees.latitude + 90) / 180)[..., None]
        return _wave(degrees.longitude / 360)
    if times is None:
        raise ValueError(f"[Channels] the extra '{name}' needs the times of the frames.")
    times = times.astype("datetime64[s]")
    start, length = (times.astype("datetime64[D]"), _DAY) if name == "day" else (times.astype("datetime64[Y]"), _YEAR)
    return _wave((times - start).astype(float) / length)[:, :, None, None]


def _wave(turns: np.ndarray) -> np.ndarray:
    """Returns sine and cosine of an angle in turns, moved from [-1, 1] to [0, 1], along a new last axis."""
    return np.stack([(1 + np.sin(2 * np.pi * turns)) / 2, (1 + np.cos(2 * np.pi * turns)) / 2], axis=-1)


def _scale(record: Mapping[str, Any]) -> Transform:
    arguments = dict(record)
    name = arguments.pop("name", None)
    if name not in _SCALES:
        raise ValueError(f"[Channels] a scale must be one of {', '.join(_SCALES)} but got {name!r}.")
    return _SCALES[name](**arguments)
