"""A forecast as it is written: values, times, place and provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convlstm.arguments import check_number

import numpy as np

SOURCE = "convlstm"
"""Beginning of `source`, or of a picture's comment, in all files that this project writes."""

# Attributes of files: their names, and those that no one else may set.
_NAME = re.compile(r"[A-Za-z]\w{0,99}", re.ASCII)
_OWN = ("Conventions", "source", "history")


@dataclass(frozen=True)
class Coordinate:
    """Coordinates of the pixels, or the grid mapping.

    Args:
        name: Name of the variable.
        dimensions: Names of its dimensions: that of the rows, of the columns or both, or none for a grid mapping.
        values: Its values.
        attributes: Its attributes in CF's notation.
    """

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """The coordinates of the pixels, with their projection.

    Args:
        dimensions: Names of the dimensions of rows and columns.
        coordinates: Coordinates of rows, columns or pixels, and a grid mapping. The first row is the northern one.
        projection: PROJ string or WKT, which the grid mapping is made from if there is none. Default: unknown.
    """

    dimensions: tuple[str, str]
    coordinates: tuple[Coordinate, ...]
    projection: str | None = None

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        extent: tuple[float, float, float, float],
        *,
        units: str = "m",
        projection: str | None = None,
    ) -> Place:
        """Returns the place of (H, W) pixels between the outer edges (x_min, y_min, x_max, y_max) in "m" or "deg".

        Raises:
            ValueError: `units` is another word.
        """
        if units not in ("m", "deg"):
            raise ValueError(f"[Place] 'units' must be 'm' or 'deg' but got {units!r}.")
        (height, width), (x_min, y_min, x_max, y_max) = shape, extent
        dx, dy = (x_max - x_min) / width, (y_max - y_min) / height
        x, y = x_min + (np.arange(width) + 0.5) * dx, y_max - (np.arange(height) + 0.5) * dy
        if units == "deg":
            names = ("lat", "lon")
            about = [("latitude", "latitude", "degrees_north"), ("longitude", "longitude", "degrees_east")]
        else:
            names = ("y", "x")
            about = [(f"projection_{axis}_coordinate", f"{axis} of projection", "m") for axis in names]
        coordinates = [
            Coordinate(
                name, (name,), values, {"standard_name": standard, "long_name": long, "units": written, "axis": axis}
            )
            for name, values, (standard, long, written), axis in zip(names, (y, x), about, "YX", strict=True)
        ]
        return cls(names, tuple(coordinates), projection)

    @property
    def y(self) -> np.ndarray | None:
        """Coordinates of the rows, (H,), or None."""
        return self._along(0)

    @property
    def x(self) -> np.ndarray | None:
        """Coordinates of the columns, (W,), or None."""
        return self._along(1)

    @property
    def units(self) -> str | None:
        """Units of `x`, or None."""
        return next(
            (str(c.attributes.get("units", "")) for c in self.coordinates if c.name == self.dimensions[1]), None
        )

    @property
    def mapping(self) -> str | None:
        """Name of the grid mapping among the coordinates, or None."""
        return next((c.name for c in self.coordinates if not c.dimensions), None)

    @property
    def mapping_attributes(self) -> dict[str, Any] | None:
        """Attributes of the grid mapping, or None."""
        return next((dict(c.attributes) for c in self.coordinates if not c.dimensions), None)

    def _along(self, axis: int) -> np.ndarray | None:
        return next((c.values for c in self.coordinates if c.dimensions == (self.dimensions[axis],)), None)


@dataclass(frozen=True)
class Quantity:
    """The name and the units of a forecast field.

    Args:
        name: Name of its variable.
        units: Units of its values.
        standard_name: Name in the conventions for climate and forecast metadata. Default: none.
        long_name: Description. Default: none.
    """

    name: str
    units: str
    standard_name: str = ""
    long_name: str = ""


@dataclass(frozen=True)
class Layer:
    """A field that is written beside the forecast, such as its spread.

    Args:
        values: (T, H, W); NaN means missing.
        units: Units in CF's notation.
        long_name: Description of the field.
        attributes: Further attributes. Default: none.
    """

    values: np.ndarray
    units: str
    long_name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Forecast:
    """A forecast with its times, its place and its provenance.

    Args:
        values: Physical values, (T, H, W), or (T, H, W, C) with several channels; NaN means missing.
        units: Units of the values, such as "mm/h" or "degC"; "raw" for numbers without units, "" for values in [0, 1].
        issued: Time of the last input frame, datetime64, UTC. Default: unknown.
        step: Minutes from frame to frame. Default: unknown.
        place: Place of the pixels. Default: unknown.
        inputs: Frames that the forecast was made from, of the same shape, for pictures. Default: none.
        layers: Further fields by name. Default: none.
        provenance: Facts about the model and its data. Default: none.
        frame_rate: Frames per second of a video of it. Default: unknown.
        fields: Name and units of each channel, which becomes a variable. Default: those that `units` mean.
        valid: Valid time of each frame, datetime64, UTC, if months or years make the steps unequal. Default: a `step`
            from frame to frame.
        members: Members of the ensemble that the forecast is made of, (M, T, H, W) or (M, T, H, W, C). Default: none.
        about: Further attributes of the forecast's variables, such as `cell_methods`. Default: none.
        observed: Frames up to the last input, of the same shape, such as those of the last hour, for pages. Default:
            the inputs.
        attributes: Texts and numbers that describe the file, such as `license` and `institution`. Default: none.

    Raises:
        ValueError: An argument is of another type, or shapes do not fit each other.
    """

    values: np.ndarray
    units: str
    issued: np.datetime64 | None = None
    step: float | None = None
    place: Place | None = None
    inputs: np.ndarray | None = None
    layers: Mapping[str, Layer] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    frame_rate: float | None = None
    fields: tuple[Quantity, ...] = ()
    valid: np.ndarray | None = None
    members: np.ndarray | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    observed: np.ndarray | None = None
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("values", "inputs", "members", "observed"):
            array = getattr(self, name)
            if array is not None or name == "values":
                _check_numbers(name, array)
        if not isinstance(self.units, str):
            raise ValueError(f"[Forecast] 'units' must be a text but got {self.units!r}.")
        if self.issued is not None and not isinstance(self.issued, np.datetime64):
            raise ValueError(f"[Forecast] 'issued' must be a datetime64 but got {self.issued!r}.")
        for name in ("step", "frame_rate"):
            if (number := getattr(self, name)) is not None:
                check_number("Forecast", name, number, above=0)
        kinds: dict[str, Any] = dict.fromkeys(("layers", "provenance", "about", "attributes"), Mapping)
        kinds |= {"fields": tuple, "place": Place}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise ValueError(f"[Forecast] '{name}' must be a {kind.__name__} but got {value!r}.")
        _check_attributes(self.attributes)
        if self.values.ndim not in (3, 4) or 0 in self.values.shape:
            raise ValueError(
                f"[Forecast] 'values' must be of shape (T, H, W) or (T, H, W, C) but got {self.values.shape}."
            )
        for name in ("inputs", "observed"):
            frames = getattr(self, name)
            if frames is not None and frames.shape[1:] != self.values.shape[1:]:
                raise ValueError(
                    f"[Forecast] '{name}' must have frames of {self.values.shape[1:]} but got {frames.shape[1:]}."
                )
        if self.members is not None and (self.members.shape[1:] != self.values.shape or not len(self.members)):
            raise ValueError(
                f"[Forecast] 'members' must be of shape (M, {', '.join(map(str, self.values.shape))}) but got "
                f"{self.members.shape}."
            )
        if self.place is not None:
            sizes = dict(zip(self.place.dimensions, self.values.shape[1:3], strict=True))
            for coordinate in self.place.coordinates:
                expected = tuple(sizes[name] for name in coordinate.dimensions)
                if np.shape(coordinate.values) != expected:
                    raise ValueError(
                        f"[Forecast] 'place' must have coordinates {coordinate.name!r} of {expected} but has "
                        f"{np.shape(coordinate.values)}."
                    )
        channels = self.values.shape[3] if self.values.ndim == 4 else 1
        if self.fields and len(self.fields) != channels:
            raise ValueError(
                f"[Forecast] 'fields' must be {channels}, one for each channel, but got {len(self.fields)}."
            )
        if self.valid is not None and np.shape(self.valid) != self.values.shape[:1]:
            raise ValueError(
                f"[Forecast] 'valid' must be {len(self.values)} times but got an array of {np.shape(self.valid)}."
            )
        for name, layer in self.layers.items():
            if layer.values.shape != self.values.shape[:3]:
                raise ValueError(
                    f"[Forecast] layer {name!r} must be of shape {self.values.shape[:3]} but got {layer.values.shape}."
                )

    @property
    def leads(self) -> np.ndarray | None:
        """Minutes from the last input frame to each frame, (T,), or None."""
        if self.valid is not None and self.issued is not None:
            return (self.valid - self.issued.astype("datetime64[s]")) / np.timedelta64(60, "s")
        return None if self.step is None else np.arange(1, len(self.values) + 1) * self.step

    @property
    def times(self) -> np.ndarray | None:
        """Valid time of each frame, datetime64[s], (T,), UTC, or None."""
        if self.valid is not None:
            return self.valid.astype("datetime64[s]")
        if self.issued is None or self.leads is None:
            return None
        return self.issued.astype("datetime64[s]") + np.round(self.leads * 60).astype("timedelta64[s]")


def _check_attributes(attributes: Mapping[str, Any]) -> None:
    """Raises ValueError unless attributes have names and values that every format can hold."""
    for name, value in attributes.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _OWN:
            raise ValueError(
                f"[Forecast] 'attributes' must have names of letters, digits and _, other than {', '.join(_OWN)}, but "
                f"got {name!r}."
            )
        if not isinstance(value, str | int | float):
            raise ValueError(f"[Forecast] 'attributes' must be texts and numbers but {name!r} is {value!r}.")


def _check_numbers(name: str, array: Any) -> None:
    """Raises ValueError unless an argument is an array of real numbers."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufb":
        described = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"[Forecast] '{name}' must be an array of numbers but got {described}.")
