"""The fields of a CF file that make its frames: their variables, times, units and grid."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from convlstm.datasets.readers.base import Contents, without_infinity
from convlstm.datasets.readers.cf.axes import Axes, Variables, find_axes, has_frames, is_place, sides
from convlstm.datasets.readers.cf.grid import find_grid
from convlstm.datasets.readers.cf.period import FrameTimes, frame_times, periods_of
from convlstm.datasets.readers.cf.quantity import Quantity, named_rain, quantity_of
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import POLAR, UnreadableError
from convlstm.datasets.readers.grid import Field, Grid
from convlstm.datasets.readers.limits import check_frame

import numpy as np

_SHOWN = 20
# Frames that are compared to know whether amounts add up, and wet pixels of each that are enough.
_COMPARED, _ENOUGH = 4, 64


class Source(NamedTuple):
    """A variable of a file, and the way from its stored numbers to a channel of the frames."""

    name: str
    attributes: Mapping[str, Any]
    field: Field
    factors: np.ndarray  # of each frame, from the units in the file to the field's
    axes: Axes
    flips: tuple[int, ...]  # axes of a frame to flip
    frame_bytes: int  # of a frame as stored
    block: int  # frames that are stored together

    def values(self, stored: np.ndarray, position: int) -> np.ndarray:
        """Returns rows and columns of values from the stored numbers of the frame at a position."""
        values = decode(stored, self.attributes, float(self.factors[position]))
        return np.flip(without_infinity(values, self.field.kind), self.flips)


class Sources(NamedTuple):
    """The variables of a file that are read, and what is known of their frames."""

    contents: Contents
    sources: tuple[Source, ...]


def find_sources(
    variables: Variables,
    *,
    file_name: str,
    names: Sequence[str] = (),
    units: str | Mapping[str, str] | None = None,
    step_minutes: float | None = None,
    select: Mapping[str, Any],
) -> Sources:
    """Returns the fields to read from a file, with their times and their grid.

    Args:
        variables: All variables of the file.
        file_name: Its name, which may have the time.
        names: Variables to read. Default: the only rain, or the only one.
        units: Units instead of those in the file, of all variables or by name. Default: those in the file.
        step_minutes: Period of accumulations. Default: the one in the file.
        select: Values of the coordinates to read of further dimensions.

    Raises:
        UnreadableError: If there is no such field, it is not clear which one is wanted, the fields do not fit
            together, or needed information is missing.
    """
    chosen = [variables[name] for name in _choose(variables, names)]
    all_dimensions = {name for variable in chosen for name in variable.dimensions}
    for name in select:
        if name not in all_dimensions:
            raise UnreadableError(
                f"has no dimension {name!r} to select from: {chosen[0].name!r} is over "
                f"{', '.join(chosen[0].dimensions)}"
            )
    all_axes = [find_axes(variables, variable, select) for variable in chosen]
    # A field without times, such as the height of the ground, is the same in all frames.
    first = next((n for n, axes in enumerate(all_axes) if axes.frames), 0)
    shared = frame_times(variables, chosen[first], all_axes[first], file_name)
    sources: list[Source] = []
    grids: list[Grid] = []
    times = shared.times
    for n, (variable, axes) in enumerate(zip(chosen, all_axes, strict=True)):
        is_static = n != first and axes.frames is None
        found = shared if n == first or is_static else frame_times(variables, variable, axes, file_name)
        quantity = quantity_of(variable, units.get(variable.name) if isinstance(units, Mapping) else units)
        field, factors = _rates(variable, quantity, found, step_minutes)
        grid, flips = find_grid(variables, variable, axes, (field,))
        check_frame(grid.shape)
        if grids and (grid.dimensions, grid.shape) != (grids[0].dimensions, grids[0].shape):
            raise UnreadableError(f"has {variable.name!r} on another grid than {chosen[0].name!r}")
        if found is not shared and not np.array_equal(found.times, shared.times):
            raise UnreadableError(f"has {variable.name!r} at other times than {chosen[first].name!r}")
        if quantity.is_amount and step_minutes is None and found.begins is None:
            _check_falls(variable, axes, len(found.times))
        if quantity.is_amount and found.ends is not None and len(chosen) == 1:
            times = found.ends
        grids.append(grid)
        along = None if axes.frames is None else variable.dimensions.index(axes.frames)
        sources.append(
            Source(
                variable.name,
                variable.attributes,
                field,
                factors,
                axes,
                flips,
                frame_bytes=variable.dtype.itemsize * grid.shape[0] * grid.shape[1],
                block=max(1, variable.chunks[along]) if variable.chunks and along is not None else 1,
            )
        )
    grid = replace(grids[first], fields=tuple(source.field for source in sources))
    return Sources(Contents(times, grid), tuple(sources))


def decode(stored: np.ndarray, attributes: Mapping[str, Any], factor: float = 1.0) -> np.ndarray:
    """Returns float32 values of stored numbers: scaled, and NaN where the attributes call them missing."""
    if str(attributes.get("_Unsigned", "")).lower() == "true" and stored.dtype.kind == "i":
        stored = stored.view(f"u{stored.dtype.itemsize}")
    missing = np.isnan(stored) if stored.dtype.kind == "f" else np.zeros(stored.shape, bool)
    with np.errstate(invalid="ignore", over="ignore"):  # a code may lie outside the range of the dtype
        codes = [_codes(attributes.get(name), stored.dtype) for name in ("_FillValue", "missing_value")]
    for code in np.concatenate(codes):
        missing |= stored == code
    low, high = (attributes.get(f"valid_{end}") for end in ("min", "max"))
    low, high = attributes.get("valid_range", (low, high))
    if low is not None:
        missing |= stored < np.asarray(low).astype(stored.dtype)
    if high is not None:
        missing |= stored > np.asarray(high).astype(stored.dtype)
    scale, offset = (float(attributes.get(name, default)) for name, default in (("scale_factor", 1), ("add_offset", 0)))
    values = stored * np.float32(scale * factor) + np.float32(offset * factor)
    values[missing] = np.nan
    return values.astype(np.float32, copy=False)


def _codes(value: Any, dtype: np.dtype) -> np.ndarray:
    """Returns fill values as numbers of `dtype`; xarray writes those of floats as base64 into Zarr 3."""
    if value is None:
        return np.zeros(0, dtype)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = struct.unpack("<d", base64.standard_b64decode(value))[0]
    # The code of unsigned numbers may be stored as the signed number of the same bits.
    return np.ravel(np.asarray(value).astype(dtype))


def _rates(
    variable: Variable, quantity: Quantity, found: FrameTimes, step_minutes: float | None
) -> tuple[Field, np.ndarray]:
    """Returns the field, and the factors of the frames from the units in the file."""
    factors = np.full(len(found.times), quantity.factor)
    if not quantity.is_amount:
        return quantity.field, factors
    periods = periods_of(variable, found) if step_minutes is None else np.full(len(factors), step_minutes)
    source = f"{quantity.field.file_units} in {np.median(periods):g} min"
    return replace(quantity.field, file_units=source), factors * 60 / periods


def _check_falls(variable: Variable, axes: Axes, frames: int) -> None:
    """Raises UnreadableError if amounts contain those before: no pixel ever falls, in frames from first to last."""
    if axes.frames is None or frames < _COMPARED:
        return
    before = None
    for position in np.linspace(0, frames - 1, _COMPARED).round().astype(int).tolist():
        stored = variable.read(*axes.selection(variable, position))
        amounts = np.nan_to_num(decode(stored, variable.attributes))
        # A few wet pixels may rise by chance.
        if before is not None and ((amounts < before).any() or np.count_nonzero(before) < _ENOUGH):
            return
        before = amounts
    raise UnreadableError(
        f"has {variable.name!r}, amounts of rain that never fall from frame to frame, so they seem to add up from a "
        "start on. Take their differences first, as xarray's .diff('time') does, or give the minutes of each with the "
        "option 'step_minutes'"
    )


def _choose(variables: Variables, wanted: Sequence[str]) -> list[str]:
    """Returns the names of the variables to read."""
    frames = {name: variable for name, variable in variables.items() if _on_a_map(name, variable, variables)}
    for name in wanted:
        if name not in frames:
            raise UnreadableError(f"has no frames {name!r}; it has {_listed(frames.values()) or 'none'}")
    if wanted:
        return list(wanted)
    # Beside a stack, a field without times is the height of the ground or the like.
    timed = {name: variable for name, variable in frames.items() if has_frames(variables, variable)}
    frames = timed or frames
    quality = " ".join(variable.text("ancillary_variables") for variable in frames.values()).split()
    values = {n: v for n, v in frames.items() if n not in quality and "flag_meanings" not in v.attributes}
    frames = values or frames
    rain = [name for name, variable in frames.items() if named_rain(variable)]
    candidates = rain or list(frames)
    if len(candidates) == 1:
        return candidates
    if candidates:
        raise UnreadableError(
            f"has several fields: {_listed(frames[name] for name in candidates)}. Choose one by the option 'variable', "
            f"or several as channels: reader.variable={candidates[0]}"
        )
    if {"azimuth", "range"} <= {*variables}:
        raise UnreadableError(f"holds the rays of a radar, not a field of rows and columns. {POLAR}")
    raise UnreadableError(f"has no field of rows and columns; it has {_listed(variables.values()) or 'nothing'}")


def _on_a_map(name: str, variable: Variable, variables: Variables) -> bool:
    """Returns True for a field on a map, False for coordinates and their bounds."""
    if len(variable.dimensions) < 2 or variable.dtype.kind not in "iuf" or name in variable.dimensions:
        return False
    if is_place(variable) or any(other.text("bounds") == name for other in variables.values()):
        return False
    return sides(variables, variable) is not None


def _listed(variables: Any) -> str:
    """Returns the names and units of variables as text."""
    texts = [f"{v.name} ({v.text('units')[:40]})" if v.text("units") else v.name for v in variables]
    return ", ".join(texts[:_SHOWN] + ["..."] * (len(texts) > _SHOWN))
