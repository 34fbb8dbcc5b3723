"""Inputs of a model beside the fields: what is known of the time and the place of the frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from convlstm.datasets.readers.grid import Coordinate

import numpy as np

EXTRAS = {"known": 1, "latitude": 1, "longitude": 2, "day": 2, "year": 2}
"""Inputs beside the fields, with their numbers of channels: 1 for pixels whose targets are known in some input frame, 0
for others; the latitude; sine and cosine of the longitude, of the time of day and of the time of year (UTC)."""

_DEGREES = {"degrees_north": "latitude", "degrees_east": "longitude"}
_DAY, _YEAR = 86400.0, 365.2425 * 86400.0


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


def extra_input(name: str, unknown: np.ndarray, times: np.ndarray | None, degrees: Degrees | None) -> np.ndarray:
    """Returns the channels of an extra in [0, 1], in a shape that broadcasts to (N, T, H, W, channels)."""
    if name == "known":
        return 1.0 - np.any(unknown, axis=-1, keepdims=True).astype(np.float32)[:, None]
    if name in ("latitude", "longitude"):
        if degrees is None:
            raise ValueError(f"[Channels] the extra '{name}' needs the latitude and longitude of the pixels.")
        if name == "latitude":
            return ((degrees.latitude + 90) / 180)[..., None]
        return _wave(degrees.longitude / 360)
    times = needed(times, f"the extra '{name}'").astype("datetime64[s]")
    start, length = (times.astype("datetime64[D]"), _DAY) if name == "day" else (times.astype("datetime64[Y]"), _YEAR)
    return _wave((times - start).astype(float) / length)[:, :, None, None]


def needed(times: np.ndarray | None, what: str) -> np.ndarray:
    """Returns the times of frames; raises ValueError, which names what needs them, if they are not given."""
    if times is None:
        raise ValueError(f"[Channels] {what} needs the times of the frames.")
    return times


def _wave(turns: np.ndarray) -> np.ndarray:
    """Returns sine and cosine of an angle in turns, moved from [-1, 1] to [0, 1], along a new last axis."""
    return np.stack([(1 + np.sin(2 * np.pi * turns)) / 2, (1 + np.cos(2 * np.pi * turns)) / 2], axis=-1)
