"""Forecasts as mlcast's specification of radar data describes them: one field of rain, as a Zarr store."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from convlstm.writers import cf, zarr_store
from convlstm.writers.forecast import Coordinate, Forecast, Place, Quantity
from convlstm.writers.optional_imports import library

import numpy as np

# Name, units and standard name that the specification allows, by the units of the forecast.
_QUANTITIES = {
    "mm/h": Quantity("rainfall_flux", "kg m-2 h-1", "rainfall_flux", "rain rate"),
    "dBZ": Quantity("equivalent_reflectivity_factor", "dBZ", "equivalent_reflectivity_factor", "radar reflectivity"),
}
# A kilogram on a square metre is a millimetre of water.
_QUANTITIES["mm h-1"] = _QUANTITIES["kg m-2 h-1"] = _QUANTITIES["mm/h"]
# What a data set must say, and only its owner knows.
_ASKED = (
    *("license", "mlcast_created_by", "mlcast_created_with", "mlcast_dataset_version"),
    *("mlcast_dataset_validator_version", "mlcast_dataset_identifier"),
)


def write(path: Path, forecast: Forecast) -> None:
    """Writes the forecast alone, without members and layers, with latitude and longitude of each pixel.

    It warns of attributes that the specification asks for and the forecast lacks.

    Raises:
        ValueError: The forecast is no single field of rain or reflectivity, or its pixels have no map projection.
    """
    lacking = [name for name in _ASKED if name not in forecast.attributes]
    if lacking:
        warnings.warn(
            f"[write] mlcast's specification asks for the attributes {', '.join(lacking)}. Give them, such as "
            "attributes={license: CC-BY-4.0}.",
            stacklevel=3,
        )
    zarr_store.write(path, adapted(forecast))


def adapted(forecast: Forecast) -> Forecast:
    """Returns a forecast in the specification's form; the errors are those of `write`."""
    units = forecast.fields[0].units if len(forecast.fields) == 1 else forecast.units
    if forecast.values.ndim != 3 or len(forecast.fields) > 1 or units not in _QUANTITIES:
        raise ValueError(
            f"[write] the format mlcast is for one field of rain in mm/h or reflectivity in dBZ but got {units!r} of "
            f"shape {forecast.values.shape}. Write another format, such as zarr."
        )
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return replace(
        forecast,
        place=_with_degrees(forecast.place),
        fields=(_QUANTITIES[units],),
        layers={},
        members=None,
        attributes={"mlcast_created_on": created, **forecast.attributes},
    )


def _with_degrees(place: Place | None) -> Place:
    """Returns a place with latitude and longitude of each pixel, (H, W), and a grid mapping with WKT."""
    mapping = None if place is None else cf.mapping_of(place)
    if place is None or place.x is None or place.y is None or place.units not in ("m", "km") or not mapping:
        raise ValueError(
            "[write] the format mlcast needs rows and columns in metres and their map projection, which the input does "
            "not give. Write another format, such as zarr."
        )
    pyproj = library("pyproj")
    crs = pyproj.CRS.from_user_input(mapping["crs_wkt"]) if "crs_wkt" in mapping else pyproj.CRS.from_cf(mapping)
    metres = 1000 if place.units == "km" else 1
    x, y = np.meshgrid(np.asarray(place.x, float) * metres, np.asarray(place.y, float) * metres)
    longitude, latitude = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    wkt = crs.to_wkt()
    kept = [c for c in place.coordinates if c.dimensions and c.name not in ("lat", "lon", "latitude", "longitude")]
    kept.append(Coordinate("crs", (), np.asarray(0, np.int32), {**mapping, "crs_wkt": wkt, "spatial_ref": wkt}))
    for name, values, text, direction in (
        ("lat", latitude, "latitude", "north"),
        ("lon", longitude, "longitude", "east"),
    ):
        about = {"standard_name": text, "long_name": text, "units": f"degrees_{direction}"}
        kept.append(Coordinate(name, place.dimensions, values, about))
    return replace(place, coordinates=tuple(kept))
