"""Forecasts of xarray's DataArrays and Datasets, which are Datasets on the same coordinates."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.steps import STEPS
from convlstm.writers import Forecast, Layer, Place, Quantity, cf
from convlstm.xarrays.as_dataset import as_dataset
from convlstm.xarrays.model_input import ModelInput, OwnUnits, placed

import numpy as np

if TYPE_CHECKING:
    from convlstm.forecasting.forecaster import Forecaster

LEAST_STEP = 4.0
"""Minutes: frames that follow each other faster are left out for a `LearnedSTEPS`, whose training has few of them."""

_PIXEL = 0.05
# Attributes of a variable that are of its storage or of its own values, not of a forecast.
_STORED = re.compile(
    r"_.*|missing_value|scale_factor|add_offset|valid_(min|max|range)|actual_range|flag_.*|coordinates|grid_mapping"
    r"|ancillary_variables|cell_methods|comment"
)


def forecast_of(
    forecaster: Forecaster,
    data: Any,
    horizon: int | None = None,
    *,
    times: Any = None,
    degrees: Any = None,
    perturb: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Any:
    """Returns the forecast of the frames of a DataArray or Dataset as a Dataset.

    Its variables have the names, units and attributes of the input, with `time` (the dimension of the input) as the
    valid time, `lead_time` and `forecast_reference_time`; its spatial coordinates and grid mapping are those of the
    input, value for value and in its order. Ensembles have their layers beside it, such as `spread`, and
    `NAME_members` with the dimension `realization` if "members" is among `forecaster.products`. Reflectivity becomes
    rain rate, in mm h-1.

    Minutes between frames and the side of a pixel are those of the coordinates: frames between are left out if training
    had longer steps, and a warning says where neither that nor the pixels fit. Only the frames that the forecast needs
    are read.

    Args:
        forecaster: The forecaster.
        data: Frames over time, rows and columns (y and x, or latitudes and longitudes), or a Dataset of them; a
            DataArray may have a dimension `channel`, `variable` or `band`. Units are those of the attributes.
        horizon, perturb: As in `Forecaster`.
        times, degrees: None: the coordinates say them.

    Raises:
        ValueError: The fields, units, times or grid do not fit the model, or as in `Forecaster`.
    """
    if times is not None or degrees is not None:
        raise ValueError(
            "[Forecaster] 'times' and 'degrees' must be left out for frames of xarray: its coordinates say them."
        )
    section = (forecaster.record.get("config") or {}).get("data") or {}
    given = ModelInput(data, forecaster.scale, forecaster.units, section.get("zr") or (200.0, 1.6))
    is_free = isinstance(forecaster.model, LearnedSTEPS)
    step = given.step(None if is_free else forecaster.frame_interval, LEAST_STEP if is_free else 0.0)
    frames, moments = given.window(forecaster.input_frames, step)
    _tell(forecaster, given, step)
    for one in (forecaster, *getattr(forecaster, "forecasters", [])):
        one.scale = placed(one.scale, given)
    with _products_of_pixels(forecaster, given.labelled.grid.pixel_km):
        values = forecaster(frames, horizon, times=moments, degrees=given.degrees, perturb=perturb)
    forecast = _described(forecaster, given, values, moments[-1] + given.late, step)
    return _on_coordinates(forecast, given)


def _tell(forecaster: Forecaster, given: ModelInput, step: float) -> None:
    """Tells a model the step and the side of the pixels if it asks for them, or warns if the pixels are others."""
    grid = given.labelled.grid
    if isinstance(forecaster.model, STEPS):
        forecaster.model.adopt(minutes=step, pixel_km=grid.pixel_km)
    elif isinstance(forecaster.model, LearnedSTEPS):
        sides = grid.sides_km
        if sides is None:
            km = float(getattr(forecaster, "trained_km", math.nan))
            warnings.warn(
                f"[Forecaster] the coordinates do not say the side of a pixel, which is taken as {km:g} km. Give "
                "coordinates with units, such as m or degrees_north.",
                stacklevel=4,
            )
        forecaster.adopt(minutes=step, pixel_km=km if sides is None else sides)  # type: ignore[attr-defined]
    elif forecaster.pixel_km and grid.pixel_km and abs(grid.pixel_km / forecaster.pixel_km - 1) > _PIXEL:
        warnings.warn(
            f"[Forecaster] the pixels are {grid.pixel_km:.3g} km wide, but the model was trained on pixels of "
            f"{forecaster.pixel_km:g} km, so it sees rain as larger or smaller than it is. Average smaller ones first: "
            f"data.coarsen({grid.dimensions[0]}=2, {grid.dimensions[1]}=2).mean().",
            stacklevel=4,
        )


@contextmanager
def _products_of_pixels(forecaster: Any, pixel_km: float | None) -> Iterator[None]:
    """Gives the products of an ensemble, such as probabilities nearby, the side of a pixel, unless they have one."""
    products = getattr(forecaster, "products", None)
    if products is None or products.pixel_km is not None or pixel_km is None:
        yield
        return
    forecaster.products = replace(products, pixel_km=pixel_km)
    try:
        yield
    finally:
        forecaster.products = products


def _described(
    forecaster: Forecaster, given: ModelInput, values: np.ndarray, issued: np.datetime64, step: float
) -> Forecast:
    """Returns the forecast with its members and layers in the units of the Dataset."""
    members = getattr(forecaster, "all_members", None)
    trained = [target.field.name for target in getattr(forecaster.scale, "targets", ())]
    return Forecast(
        _converted(values, given.own),
        forecaster.units,
        issued=issued,
        step=step,
        place=Place(given.labelled.grid.dimensions, ()),
        layers=dict(
            _own_layer(name, layer, given.own, trained) for name, layer in getattr(forecaster, "layers", {}).items()
        ),
        provenance=forecaster.provenance(),
        fields=tuple(Quantity(one.name, one.units) for one in given.own),
        valid=given.after(issued, len(values), step),
        members=None if members is None else _converted(members, given.own),
        about=getattr(forecaster, "about", {}),
    )


def _converted(values: np.ndarray, own: Sequence[OwnUnits]) -> np.ndarray:
    """Returns values (..., C) in the units of the Dataset, float32."""
    if all((one.factor, one.offset) == (1, 0) for one in own):
        return values
    factor, offset = (np.array([getattr(one, name) for one in own]) for name in ("factor", "offset"))
    return (values * factor + offset).astype(np.float32)


def _own_layer(name: str, layer: Layer, own: Sequence[OwnUnits], trained: Sequence[str]) -> tuple[str, Layer]:
    """Returns a layer in the units of the Dataset, and its name with the name of the field there."""
    number = next((n for n, field in enumerate(trained) if len(trained) > 1 and name.endswith(f"_{field}")), 0)
    one = own[number]
    if len(trained) > 1:
        name = f"{name.removesuffix(trained[number])}{one.name}"
    if layer.units == "1":  # a probability
        return name, layer
    is_spread = "standard_deviation" in str(layer.attributes.get("cell_methods"))
    values = (layer.values * one.factor + (0 if is_spread else one.offset)).astype(np.float32)
    return name, replace(layer, values=values, units=one.units or layer.units)


def _on_coordinates(forecast: Forecast, given: ModelInput) -> Any:
    """Returns a forecast as a Dataset on the coordinates of the input, with the attributes of its variables."""
    source, labelled = given.dataset, given.labelled
    attributes = cf.attributes(forecast)
    history = "\n".join(filter(None, (attributes["history"], str(source.attrs.get("history", "")))))
    made = as_dataset(cf.variables(forecast), {**source.attrs, **attributes, "history": history})
    made = made.isel({name: slice(None, None, -1) for name in labelled.turned})
    if labelled.frames and labelled.frames != "time":
        made = made.rename({"time": labelled.frames})
    made = made.assign_coords(_kept(given, made))
    for name, variable in made.data_vars.items():
        own = next((one for one in given.own if str(name) in (one.name, f"{one.name}_members")), None)
        if own is not None:
            kept = {key: value for key, value in own.attributes.items() if not _STORED.fullmatch(key)}
            described = variable.attrs.get("long_name", "")
            variable.attrs = {**{k: v for k, v in variable.attrs.items() if v != ""}, **kept}
            if str(name) != own.name:
                variable.attrs["long_name"] = f"members of {own.attributes.get('long_name', own.name)}"
            elif "long_name" not in variable.attrs and described:
                variable.attrs["long_name"] = described
        if labelled.mapping:
            variable.encoding["grid_mapping"] = labelled.mapping
    return made


def _kept(given: ModelInput, made: Any) -> Mapping[str, Any]:
    """Returns the coordinates of the pixels, the scalar ones and the grid mapping of the input."""
    source, labelled = given.dataset, given.labelled
    # Files are often opened with latitudes and longitudes among the variables.
    names = {*source.coords, *(one.name for one in labelled.grid.coordinates)} - {*made.variables, labelled.mapping}
    rows_and_columns = {*labelled.grid.dimensions}
    kept = {n: one for n, one in source.variables.items() if n in names and {*one.dims} <= rows_and_columns}
    if labelled.mapping:
        mapping = source.variables[labelled.mapping]
        # Files that are put together each bring their own.
        kept[labelled.mapping] = mapping.isel(dict.fromkeys(mapping.dims, 0))
    return kept
