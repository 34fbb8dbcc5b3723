"""GeoTIFF files of forecasts in the layout for clouds (COG), by the library rasterio."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from convlstm.writers import cf
from convlstm.writers.forecast import SOURCE, Forecast, Place
from convlstm.writers.optional_imports import library

import numpy as np

# Attributes of a field that its bands have as tags.
_KEPT = (
    *("standard_name", "long_name", "cell_methods", "comment"),
    *("threshold", "threshold_units", "quantile", "radius_km"),
)
# Rows and columns may lie this far from equal distances, as a share of them.
_TOLERANCE = 0.01
_SIDE = 512
_LAYOUT = {"compress": "deflate", "predictor": "yes", "blocksize": _SIDE, "overview_resampling": "average"}


@dataclass(frozen=True)
class _Band:
    """A frame (H, W) of a field with its description and tags."""

    values: np.ndarray
    description: str
    units: str
    tags: Mapping[str, Any]


def write(path: Path, forecast: Forecast) -> None:
    """Writes a file with a band for each field, member and lead time, the forecast's own ones first.

    Raises:
        ValueError: The forecast has no place, rows and columns at unequal distances, or frames of several channels that
            are no fields.
        OSError: The file cannot be written.
    """
    _write(path, forecast, [band for bands in _bands(forecast).values() for band in bands], forecast.issued)


def write_frames(path: Path, forecast: Forecast) -> None:
    """Writes a folder with a file for each field and lead time; a file of members has a band for each.

    Names have the valid time in UTC, such as `rain_rate_20100826T074000Z.tif`. The errors are those of `write`.
    """
    path.mkdir()
    times = forecast.times
    for (name, frame), bands in _bands(forecast).items():
        moment = None if times is None else times[frame]
        stamp = f"{frame + 1:03d}" if moment is None else f"{moment}Z".replace("-", "").replace(":", "")
        _write(path / f"{name}_{stamp}.tif", forecast, bands, moment)


def is_forecast(path: Path) -> bool:
    """Returns True if the file's tags say that this project has written it."""
    rasterio = library("rasterio", "geotiff")
    with _quiet(rasterio), rasterio.open(path, driver="GTiff") as file:
        return str(file.tags().get("TIFFTAG_SOFTWARE", "")).startswith(SOURCE)


def are_frames(path: Path) -> bool:
    """Returns True if a folder has nothing but files that this project has written."""
    return all(file.suffix == ".tif" and is_forecast(file) for file in path.iterdir())


def _bands(forecast: Forecast) -> dict[tuple[str, int], list[_Band]]:
    """Returns the bands of each field and frame, the fields in the order of a NetCDF file."""
    times, leads = forecast.times, forecast.leads
    found: dict[tuple[str, int], list[_Band]] = {}
    for variable in cf.variables(forecast):
        if not variable.is_field:
            continue
        if "channel" in variable.dimensions:
            raise ValueError(
                f"[write] a GeoTIFF has a band for each field but {variable.name!r} has {variable.values.shape[-1]} "
                "channels without a name. Write another format, such as netcdf."
            )
        has_members = variable.dimensions[0] == "realization"
        about = {key: variable.attributes[key] for key in _KEPT if key in variable.attributes}
        for frame in range(variable.values.shape[1 if has_members else 0]):
            tags = {"variable": variable.name, **about}
            where = f"frame {frame + 1}"
            if leads is not None:
                tags["lead_time_minutes"] = f"{leads[frame]:g}"
                where = f"{leads[frame]:+g} min"
            if times is not None:
                tags["valid_time"] = f"{times[frame]}Z"
                where = f"{times[frame]}Z ({where})"
            for number in range(len(variable.values) if has_members else 1):
                of_member = {"realization": number + 1} if has_members else {}
                text = f" {number + 1}" if has_members else ""
                values = variable.values[number, frame] if has_members else variable.values[frame]
                units = str(variable.attributes.get("units", ""))
                band = _Band(values, f"{variable.name}{text} {where}", units, tags | of_member)
                found.setdefault((variable.name, frame), []).append(band)
    return found


def _write(path: Path, forecast: Forecast, bands: Sequence[_Band], moment: np.datetime64 | None) -> None:
    rasterio = library("rasterio", "geotiff")
    if forecast.place is None:
        raise ValueError(
            "[write] a GeoTIFF needs the place of the pixels, which the input does not give. Write another format, "
            "such as netcdf."
        )
    from rasterio.shutil import copy

    tags = {name: str(value) for name, value in cf.attributes(forecast).items()}
    tags["TIFFTAG_SOFTWARE"] = tags["source"]
    if moment is not None:
        clock = moment.astype("datetime64[s]").item()
        tags["TIFFTAG_DATETIME"] = f"{clock:%Y:%m:%d %H:%M:%S}"
    if forecast.issued is not None:
        tags["forecast_reference_time"] = f"{forecast.issued.astype('datetime64[s]')}Z"
    height, width = bands[0].values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": len(bands), "dtype": "float32"}
    profile |= {"nodata": np.nan, "transform": _transform(forecast.place), "crs": _crs(rasterio, forecast.place)}
    # In memory, since GDAL may leave half a file on a full disk without an error.
    with _quiet(rasterio), rasterio.MemoryFile() as plain, rasterio.MemoryFile() as layout:
        with plain.open(**profile) as file:
            file.update_tags(**tags)
            for number, band in enumerate(bands, 1):
                file.write(band.values, number)
                file.set_band_description(number, band.description)
                file.set_band_unit(number, band.units)
                file.update_tags(number, **{key: str(value) for key, value in band.tags.items()})
        with plain.open() as file:
            copy(file, layout.name, driver="COG", **_LAYOUT)
        path.write_bytes(layout.getbuffer())


def _transform(place: Place) -> Any:
    """Returns the affine transform from columns and rows to the map."""
    from rasterio import Affine

    steps = []
    for values in (place.x, place.y):
        values = np.empty(0) if values is None else np.asarray(values, float)
        distances = np.diff(values)
        step = distances.mean() if len(distances) else 0.0
        if step == 0 or np.abs(distances - step).max() > _TOLERANCE * abs(step):
            raise ValueError(
                "[write] a GeoTIFF needs rows and columns at equal distances on a map, but those of the input have "
                "unequal ones, or latitudes and longitudes of each pixel alone. Write another format, such as netcdf."
            )
        steps += [values[0], step]
    x, dx, y, dy = steps
    scale = 1000.0 if place.units == "km" else 1.0
    return Affine(dx * scale, 0, (x - dx / 2) * scale, 0, dy * scale, (y - dy / 2) * scale)


def _crs(rasterio: ModuleType, place: Place) -> Any:
    """Returns the coordinate reference system, or None with a warning if it is not known."""
    mapping = cf.mapping_of(place)
    try:
        if "crs_wkt" in mapping:
            return rasterio.crs.CRS.from_wkt(mapping["crs_wkt"])
        if mapping:
            return rasterio.crs.CRS.from_wkt(library("pyproj").CRS.from_cf(mapping).to_wkt())
    except Exception as error:  # of PROJ and GDAL, for a stranger's text
        warnings.warn(f"[write] the projection cannot be written to GeoTIFF ({error}).", stacklevel=2)
        return None
    if str(place.units).startswith("degree"):
        return rasterio.crs.CRS.from_epsg(4326)
    warnings.warn("[write] the map projection is not known, so the GeoTIFF has coordinates without one.", stacklevel=2)
    return None


@contextmanager
def _quiet(rasterio: ModuleType) -> Iterator[None]:
    """Ignores warnings about files without a place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield
