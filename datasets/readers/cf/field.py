"""The fields of a CF file that make its frames: their variables, times, units and grid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from convlstm.datasets.readers.base import Contents
from convlstm.datasets.readers.cf.axes import Axes, Variables, find_axes, has_frames, is_place, sides
from convlstm.datasets.readers.cf.differences import Differences, differences
from convlstm.datasets.readers.cf.grid import find_grid
from convlstm.datasets.readers.cf.period import TAKE_DIFFERENCES, FrameTimes, check_begins, frame_times, periods_of
from convlstm.datasets.readers.cf.quantity import Quantity, named_rain, quantity_of
from convlstm.datasets.readers.cf.source import Source, decode, names_missing
from convlstm.datasets.readers.cf.time import minutes_of
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import POLAR, UnreadableError
from convlstm.datasets.readers.grid import Field, Grid
from convlstm.datasets.readers.limits import check_frame

import numpy as np

_SHOWN = 20
# Characters of a text in which a pattern is searched for.
_TEXT = 500
# Frames that are compared to know whether amounts add up, and wet pixels of each that are enough.
_COMPARED, _ENOUGH = 4, 64


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
    accumulated: str | None = None,
    missing: Sequence[float] = (),
    timeless: bool = False,
) -> Sources:
    """Returns the fields to read from a file, with their times and their grid.

    Args:
        variables: All variables of the file.
        file_name: Its name, which may have the time.
        names: Variables to read. Default: the only rain, or the only one.
        units: Units instead of those in the file, of all variables or by name. Default: those in the file.
        step_minutes: Period of accumulations. Default: the one in the file.
        select: Values of the coordinates to read of further dimensions.
        accumulated: One of `convlstm.datasets.readers.cf.differences.SINCE` for sums since a start, whose differences
            are read. Default: None, sums have periods of their own.
        missing: Further stored numbers that mean missing. Default: none.
        timeless: If True, a field without times has one frame, of 1970-01-01. Default: False.

    Raises:
        UnreadableError: If there is no such field, it is not clear which one is wanted, the fields do not fit
            together, or needed information is missing.
    """
    chosen = [_with_missing(variables[name], missing) for name in _choose(variables, names)]
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
    if timeless and all(axes.frames is None for axes in all_axes):
        shared = FrameTimes(np.zeros(1, "datetime64[s]"))
    else:
        shared = frame_times(variables, chosen[first], all_axes[first], file_name)
    quantities = [quantity_of(v, units.get(v.name) if isinstance(units, Mapping) else units) for v in chosen]
    sums = [quantity.is_amount or is_sum(variable) for variable, quantity in zip(chosen, quantities, strict=True)]
    steps = None
    if accumulated is not None:
        steps = _differences(variables, chosen, all_axes, sums, file_name, accumulated)
    sources: list[Source] = []
    grids: list[Grid] = []
    times = shared.times if steps is None else steps.times
    for n, (variable, axes, quantity) in enumerate(zip(chosen, all_axes, quantities, strict=True)):
        is_static = n != first and axes.frames is None
        found = shared if n == first or is_static else frame_times(variables, variable, axes, file_name)
        field, factors = _rates(variable, quantity, found, step_minutes, steps if sums[n] else None)
        calendar = f"dates of the calendar {found.calendar} are read as real ones" if found.calendar else ""
        field = replace(
            field, remark="; ".join(filter(None, (axes.remark, _packing(variable), calendar, variable.text("_remark"))))
        )
        grid, flips = find_grid(variables, variable, axes, (field,))
        check_frame(grid.shape)
        if grids and (grid.dimensions, grid.shape) != (grids[0].dimensions, grids[0].shape):
            raise UnreadableError(f"has {variable.name!r} on another grid than {chosen[0].name!r}")
        if found is not shared and not np.array_equal(found.times, shared.times):
            raise UnreadableError(f"has {variable.name!r} at other times than {chosen[first].name!r}")
        if quantity.is_amount and steps is None and step_minutes is None and found.begins is None:
            _check_falls(variable, axes, len(found.times))
        if quantity.is_amount and found.ends is not None and len(chosen) == 1 and steps is None:
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
                tuple(axis - 2 for axis in flips),
                frame_bytes=variable.dtype.itemsize * grid.shape[0] * grid.shape[1] * max(1, len(axes.versions)),
                block=max(1, variable.chunks[along]) if variable.chunks and along is not None else 1,
                frames=1 if along is None else variable.shape[along],
                differences=None if axes.frames is None else steps,
                is_sum=sums[n],
            )
        )
    grid = replace(grids[first], fields=tuple(source.field for source in sources))
    return Sources(Contents(times, grid), tuple(sources))


def is_sum(variable: Variable) -> bool:
    """Returns True if the attributes of a variable say that it is summed over time."""
    return re.search(r"\btime\d?\s*:\s*sum\b", variable.text("cell_methods")[:_TEXT]) is not None


def _with_missing(variable: Variable, missing: Sequence[float]) -> Variable:
    """Returns a variable whose attributes name further numbers as missing."""
    if not missing:
        return variable
    known = np.ravel(variable.attributes.get("missing_value", []))
    numbers = [*(known.tolist() if known.dtype.kind in "iuf" else []), *missing]
    return replace(variable, attributes={**variable.attributes, "missing_value": numbers})


def _differences(
    variables: Variables,
    chosen: Sequence[Variable],
    all_axes: Sequence[Axes],
    sums: Sequence[bool],
    file_name: str,
    accumulated: str,
) -> Differences:
    """Returns the periods of the frames, by the times of the first of the sums."""
    if not any(sums):
        names = ", ".join(variable.name for variable in chosen)
        raise UnreadableError(
            f"has no sums among {names}, by their units and cell_methods, for the option 'accumulated'. Leave it out"
        )
    n = list(sums).index(True)
    return differences(variables, frame_times(variables, chosen[n], all_axes[n], file_name), accumulated)


def _rates(
    variable: Variable, quantity: Quantity, found: FrameTimes, step_minutes: float | None, steps: Differences | None
) -> tuple[Field, np.ndarray]:
    """Returns the field, and the factors of the frames from the units in the file."""
    count = len(found.times) if steps is None else len(steps.times)
    factors, periods = np.full(count, quantity.factor), None
    if steps is not None:
        periods = steps.minutes
    elif quantity.is_amount:
        periods = periods_of(variable, found) if step_minutes is None else np.full(count, step_minutes)
    elif is_sum(variable) and found.begins is not None:
        check_begins(found)
        periods = minutes_of(found.ends - found.begins)  # type: ignore[operator]
    if periods is None:
        return quantity.field, factors
    usual = float(np.median(periods))
    made = f"{quantity.field.file_units} in {usual:g} min"
    if steps is not None:
        made = f"the differences of {quantity.field.file_units or quantity.field.units} in {usual:g} min"
    if not quantity.is_amount:
        return replace(quantity.field, file_units="" if steps is None else made, minutes=usual), factors
    return replace(quantity.field, file_units=made, minutes=usual), factors * 60 / periods


def _packing(variable: Variable) -> str:
    """Returns a remark on packed numbers of which none is named as missing, or ""."""
    packed = variable.dtype.kind in "iu" and {"scale_factor", "add_offset"} & {*variable.attributes}
    return f"packed as {variable.dtype} without a number for missing values" * (
        bool(packed) and not names_missing(variable.attributes)
    )


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
        f"start on. {TAKE_DIFFERENCES}, or give the minutes of each with the option 'step_minutes'"
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
