"""Members and truth of a forecast as one Dataset, for packages that score ensembles."""

from __future__ import annotations

from typing import Any

from convlstm.datasets.field_units import conversion
from convlstm.xarrays.library import xarray

import numpy as np


def members_and_truth(forecast: Any, observed: Any, variable: str | None = None) -> Any:
    """Returns the members of a forecast and what was observed at its times and pixels, as one Dataset.

    `scores`, xskillscore and others take its variables as they are: `members` with the dimension `realization`, and
    `truth` without it, both float64 in the units of the forecast. They have the times, rows and columns that forecast
    and observations share, and NaN where either has no value.

    Args:
        forecast: Dataset of an ensemble's forecast, with `NAME_members`: `Forecaster` makes it if "members" is among
            its `products`, and files of such forecasts have it. Of a forecast without members, the forecast itself is
            the only one.
        observed: DataArray, or Dataset with the variable of the forecast's name or a single one.
        variable: Name of the forecast field. Default: the only one with members, else the only one.

    Raises:
        ValueError: It is not clear which field is meant, the units are of different quantities, or forecast and
            observations share no time or no pixel.
    """
    xr = xarray()
    name = _field_of(forecast) if variable is None else variable
    if name not in forecast and f"{name}_members" not in forecast:
        raise ValueError(
            f"[members_and_truth] 'variable' must be one of {', '.join(map(str, forecast.data_vars))} but got {name!r}."
        )
    members = forecast.get(f"{name}_members")
    if members is None:
        members = forecast[name].expand_dims(realization=[1])
    truth = _observed(observed, name)
    given, wanted = (str(one.attrs.get("units", "")) for one in (truth, members))
    pair = conversion(given, wanted)
    if pair is None or not given or not wanted:
        raise ValueError(
            f"[members_and_truth] the observations are in {given!r} but the forecast is in {wanted!r}. Convert them, "
            "and name their units: observed.attrs['units']."
        )
    for coordinate in members.indexes:
        # Rounded coordinates would share nothing.
        if coordinate in truth.indexes and coordinate not in ("time", "realization"):
            members, truth = _same_places(members, truth, coordinate)
    members, truth = xr.align(members, truth, join="inner", exclude=["realization"])
    if 0 in members.sizes.values():
        empty = ", ".join(str(axis) for axis, size in members.sizes.items() if size == 0)
        raise ValueError(
            f"[members_and_truth] forecast and observations must share coordinates but share none along {empty}."
        )
    members = members.astype(np.float64)
    truth = truth.transpose(*(axis for axis in members.dims if axis != "realization")).astype(np.float64)
    truth = truth * pair[0] + pair[1]
    known = truth.notnull() & members.notnull().all("realization")
    about = {key: members.attrs[key] for key in ("units", "standard_name") if key in members.attrs}
    pairs = {"members": members.where(known), "truth": truth.where(known)}
    for one in pairs.values():
        one.attrs = dict(about)
    return xr.Dataset(pairs, attrs={"title": f"members and truth of {name}"})


def _field_of(forecast: Any) -> str:
    """Returns the name of the field that has members, else of the only field."""
    names = [str(name) for name in forecast.data_vars]
    with_members = [name.removesuffix("_members") for name in names if name.endswith("_members")]
    found = with_members or names
    if len(found) != 1:
        raise ValueError(
            f"[members_and_truth] 'variable' must be given, one of {', '.join(found) or 'none'}, since the forecast "
            "has no single field with members."
        )
    return found[0]


def _observed(observed: Any, name: str) -> Any:
    if isinstance(observed, xarray().DataArray):
        return observed
    names = list(observed.data_vars)
    if name not in names and len(names) != 1:
        raise ValueError(
            f"[members_and_truth] 'observed' must have the variable {name!r} but has {', '.join(map(str, names))}. "
            "Give the one to compare with: observed['NAME']."
        )
    return observed[name if name in names else names[0]]


def _same_places(members: Any, truth: Any, coordinate: str) -> tuple[Any, Any]:
    """Returns both with the coordinates of the members where those of the truth differ by rounding only."""
    own, other = members[coordinate].values, truth[coordinate].values
    if own.shape == other.shape and own.dtype.kind in "iuf" and not np.array_equal(own, other):
        step = np.abs(np.diff(own.astype(np.float64))).min(initial=np.inf)
        if np.abs(own.astype(np.float64) - other).max() < 1e-3 * step:
            truth = truth.assign_coords({coordinate: members[coordinate]})
    return members, truth
