"""A forecast as it is written: values, times, place and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SOURCE = "convlstm"
"""Beginning of `source`, or of a picture's comment, in all files that this project writes."""


@dataclass(frozen=True)
class Place:
    """The coordinates of the pixels, with their projection.

    Args:
        x, y: Coordinates of the centres of columns and rows, (W,) and (H,). The first row is the northern one.
        units: Units of the coordinates, "m" or "deg". Default: "m".
        projection: PROJ string or WKT. Default: unknown.

    Raises:
        ValueError: `units` is another word.
    """

    x: np.ndarray
    y: np.ndarray
    units: str = "m"
    projection: str | None = None

    def __post_init__(self):
        if self.units not in ("m", "deg"):
            raise ValueError(f"[Place] 'units' must be 'm' or 'deg' but got {self.units!r}.")

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        extent: tuple[float, float, float, float],
        *,
        units: str = "m",
        projection: str | None = None,
    ) -> Place:
        """Returns the place of (H, W) pixels between the outer edges (x_min, y_min, x_max, y_max)."""
        (height, width), (x_min, y_min, x_max, y_max) = shape, extent
        dx, dy = (x_max - x_min) / width, (y_max - y_min) / height
        x, y = x_min + (np.arange(width) + 0.5) * dx, y_max - (np.arange(height) + 0.5) * dy
        return cls(x, y, units, projection)


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
        units: "mm/h", "dBZ" or "raw", or "" for values in [0, 1].
        issued: Time of the last input frame, datetime64, UTC. Default: unknown.
        step: Minutes from frame to frame. Default: unknown.
        place: Place of the pixels. Default: unknown.
        inputs: Frames that the forecast was made from, of the same shape, for pictures. Default: none.
        layers: Further fields by name. Default: none.
        provenance: Facts about the model and its data. Default: none.

    Raises:
        ValueError: Shapes do not fit each other, or `units` are unknown.
    """

    values: np.ndarray
    units: str
    issued: np.datetime64 | None = None
    step: float | None = None
    place: Place | None = None
    inputs: np.ndarray | None = None
    layers: Mapping[str, Layer] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.values.ndim not in (3, 4) or 0 in self.values.shape:
            raise ValueError(
                f"[Forecast] 'values' must be of shape (T, H, W) or (T, H, W, C) but got {self.values.shape}."
            )
        if self.units not in ("mm/h", "dBZ", "raw", ""):
            raise ValueError(f"[Forecast] 'units' must be mm/h, dBZ, raw or empty but got {self.units!r}.")
        if self.inputs is not None and self.inputs.shape[1:] != self.values.shape[1:]:
            raise ValueError(
                f"[Forecast] 'inputs' must have frames of {self.values.shape[1:]} but got {self.inputs.shape[1:]}."
            )
        if self.place is not None and (len(self.place.y), len(self.place.x)) != self.values.shape[1:3]:
            raise ValueError(
                f"[Forecast] 'place' must have {self.values.shape[1]} rows and {self.values.shape[2]} columns but has "
                f"{len(self.place.y)} and {len(self.place.x)}."
            )
        for name, layer in self.layers.items():
            if layer.values.shape != self.values.shape[:3]:
                raise ValueError(
                    f"[Forecast] layer {name!r} must be of shape {self.values.shape[:3]} but got {layer.values.shape}."
                )

    @property
    def leads(self) -> np.ndarray | None:
        """Minutes from the last input frame to each frame, (T,), or None."""
        return None if self.step is None else np.arange(1, len(self.values) + 1) * self.step

    @property
    def times(self) -> np.ndarray | None:
        """Valid time of each frame, datetime64[s], (T,), UTC, or None."""
        if self.issued is None or self.leads is None:
            return None
        return self.issued.astype("datetime64[s]") + np.round(self.leads * 60).astype("timedelta64[s]")
