"""Frames of an xarray Dataset, understood as those of a CF file are, and read one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.datasets.archives.frame_statistics import cleaned
from convlstm.datasets.readers.cf.field import find_sources
from convlstm.datasets.readers.cf.source import Source
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.transforms import rain_rate

import numpy as np


class LabelledFrames:
    """The frames of some variables of an xarray Dataset, in physical units, the northern row first.

    Only the values of frames that are asked for are read, whatever the Dataset holds them in.

    Args:
        dataset: The Dataset, decoded or not, with times, rows and columns.
        names: Variables to read, which become channels. Default: the only one of rain, else the only one.
        units: Units instead of the attributes', of all variables or by name; `"raw"` keeps the numbers. Default: those
            of the attributes.
        zr: `(a, b)` of Z = a R^b, for reflectivity. Default: (200.0, 1.6).

    Attributes:
        times: datetime64[s] of (F,), in the order of the Dataset. For an accumulation it is the end of the period.
        grid: Grid of the frames.
        fields: Fields of a frame after reflectivity has become rain rate.
        names: Names of the variables.
        frames: Name of the dimension of the frames; "" if there is a single frame without it.
        mapping: Name of the variable of the grid mapping; "" if there is none.
        turned: Names of the dimensions whose order in a frame is not that of the Dataset.

    Raises:
        UnreadableError: There is no such field, several that might be meant, or times, units or coordinates that are
            not understood.
    """

    def __init__(
        self,
        dataset: Any,
        names: Sequence[str] = (),
        *,
        units: str | Mapping[str, str] | None = None,
        zr: Sequence[float] = (200.0, 1.6),
    ):
        for name, coordinate in dataset.coords.items():
            if coordinate.dtype == object and coordinate.size and hasattr(coordinate.values.flat[0], "calendar"):
                raise UnreadableError(
                    f"has the dates {str(name)!r} of the calendar {coordinate.values.flat[0].calendar!r}. Convert it: "
                    f"data.convert_calendar('standard', dim={str(name)!r})"
                )
        self._variables = {str(name): _variable(dataset, str(name)) for name in dataset.variables}
        found = find_sources(self._variables, file_name="", names=names, units=units, select={})
        self.times, self.grid = found.contents.times.astype("datetime64[s]"), found.contents.grid
        if np.isnat(self.times).any():
            raise UnreadableError("has frames without a time")
        self._sources, self._zr = found.sources, (float(zr[0]), float(zr[1]))
        self.fields: tuple[Field, ...] = tuple(source.field.physical for source in found.sources)
        self.names = tuple(source.name for source in found.sources)
        self.frames = next((source.axes.frames for source in found.sources if source.axes.frames), "")
        self.mapping = next((c.name for c in self.grid.coordinates if not c.dimensions), "")
        flips = found.sources[0].flips
        self.turned = tuple(name for axis, name in zip((-2, -1), self.grid.dimensions, strict=True) if axis in flips)

    def __len__(self) -> int:
        return len(self.times)

    def frame(self, position: int) -> np.ndarray:
        """Returns a frame, float32 (H, W, C) in the units of `fields`, NaN where missing or impossible."""
        return np.stack([self._channel(source, position) for source in self._sources], axis=-1)

    def to_own_units(self, channel: int) -> float | None:
        """Returns the factor from the units of a field to those of its variable, or None if there is none for all.

        There is none for reflectivity, which has become rain rate, and for accumulations over different periods.
        """
        source = self._sources[channel]
        factors = source.factors
        if source.field.kind == "dBZ" or not np.allclose(factors, factors[0], rtol=1e-6):
            return None
        return 1 / float(factors[0])

    def _channel(self, source: Source, position: int) -> np.ndarray:
        variable = self._variables[source.name]

        def stored(number: int) -> np.ndarray:
            values = variable.read(*source.axes.selection(variable, number))
            return values.transpose(source.axes.order(variable, number))

        values = cleaned(source.frame(stored, position), source.field.kind)
        return rain_rate(values, *self._zr) if source.field.kind == "dBZ" else values


def mapping_of(variable: Any, dataset: Any) -> str:
    """Returns the name of the grid mapping of a variable of a Dataset, or "" if there is none.

    xarray has it among the attributes or, once decoded, in the encoding; rioxarray's `spatial_ref` needs neither.
    """
    name = str(variable.attrs.get("grid_mapping") or variable.encoding.get("grid_mapping") or "spatial_ref")
    name = name.partition(":")[0].strip()
    return name if name in dataset.variables else ""


def _variable(dataset: Any, name: str) -> Variable:
    variable = dataset.variables[name]
    attributes = dict(variable.attrs)
    if mapping := mapping_of(variable, dataset):
        attributes["grid_mapping"] = mapping
    if "bounds" in variable.encoding:
        attributes.setdefault("bounds", variable.encoding["bounds"])
    return Variable(
        name=name,
        dimensions=tuple(map(str, variable.dims)),
        shape=tuple(variable.shape),
        dtype=np.dtype(variable.dtype) if isinstance(variable.dtype, np.dtype) else np.dtype(object),
        attributes=attributes,
        load=lambda index: np.asarray(variable[index].values),
    )
