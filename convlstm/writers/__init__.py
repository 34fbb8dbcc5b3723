"""Forecasts as files: NetCDF, Zarr, GeoTIFF, NumPy, pictures, animations and videos.

A new format is a module with a function that writes it and one that recognises it, and a line in `FORMATS`.
"""

from __future__ import annotations

from pathlib import Path

from convlstm.arguments import check_path
from convlstm.backend import files
from convlstm.backend.full_disk import write_error
from convlstm.writers import geotiff, html, mlcast, mp4, netcdf, npy, pictures, zarr_store
from convlstm.writers.forecast import Coordinate, Forecast, Layer, Place, Quantity
from convlstm.writers.formats import Format
from convlstm.writers.optional_imports import MissingWriterError
from convlstm.writers.replacing import check_replaceable, move_into_place

__all__ = [
    "FORMATS",
    "Coordinate",
    "Forecast",
    "Layer",
    "MissingWriterError",
    "Place",
    "Quantity",
    "check_replaceable",
    "format_of",
    "write",
]

FORMATS = {
    "netcdf": Format(".nc", netcdf.write, netcdf.is_forecast),
    "zarr": Format(".zarr", zarr_store.write, zarr_store.is_forecast),
    "zarr3": Format(".zarr", zarr_store.write_version_3, zarr_store.is_forecast),
    "mlcast": Format(".zarr", mlcast.write, zarr_store.is_forecast),
    "geotiff": Format(".tif", geotiff.write, geotiff.is_forecast),
    "geotiff_frames": Format("", geotiff.write_frames, geotiff.are_frames, folder="_geotiff"),
    "npy": Format(".npy", npy.write, npy.is_forecast, companion=".json"),
    "png": Format("", pictures.write_frames, pictures.are_frames),
    "gif": Format(".gif", pictures.write_gif, pictures.is_picture),
    "pdf": Format(".pdf", pictures.write_pdf, pictures.is_sheet),
    "svg": Format(".svg", pictures.write_svg, pictures.is_sheet),
    "mp4": Format(".mp4", mp4.write, mp4.is_forecast),
    "html": Format(".html", html.write, html.is_forecast),
}
_ENDINGS = {".nc4": "netcdf", ".tiff": "geotiff"}
for _name, _format in FORMATS.items():  # of several formats with one ending it means the first
    if _format.ending:
        _ENDINGS.setdefault(_format.ending, _name)


def format_of(path: str | Path) -> str | None:
    """Returns the name of the format that a file's ending means, or None."""
    return _ENDINGS.get(Path(path).suffix.lower())


def write(path: str | Path, forecast: Forecast, format: str | None = None) -> Path:
    """Writes a forecast to a temporary file and renames it, so that a file with the final name is complete.

    An earlier forecast is replaced, but nothing else. If `path` is a link, its target is replaced.

    Args:
        path: The file; for `png` and `geotiff_frames` the folder of the frames.
        forecast: The forecast.
        format: A key of `FORMATS`. Default: the one that the ending of `path` means.

    Returns:
        The path.

    Raises:
        ValueError: An argument is of another type, the format does not exist, the ending does not mean any, or the
            format cannot hold the forecast, as GeoTIFF without the place of the pixels.
        MissingWriterError: The format's library is not installed.
        FileExistsError: The path is taken by something other than an earlier forecast.
        OSError: The forecast cannot be written, as on a full disk. An earlier one stays.
    """
    path = check_path("write", "path", path)
    if not path.name:
        raise ValueError(f"[write] 'path' must be a file's but got {str(path)!r}.")
    if not isinstance(forecast, Forecast):
        raise ValueError(f"[write] 'forecast' must be a Forecast but got {forecast!r}.")
    if format is None and (format := format_of(path)) is None:
        raise ValueError(f"[write] the ending of '{path.name}' must be one of {', '.join(_ENDINGS)}, or give 'format'.")
    if not isinstance(format, str) or format not in FORMATS:
        raise ValueError(f"[write] 'format' must be one of {', '.join(FORMATS)} but got {format!r}.")
    writer = FORMATS[format]
    given_path, path = path, path.resolve() if path.is_symlink() else path  # the link itself stays
    path.parent.mkdir(parents=True, exist_ok=True)
    check_replaceable(path, writer)
    part = files.temporary_of(path)
    files.remove_leftovers(path)
    if writer.companion:
        files.remove_leftovers(path.with_suffix(writer.companion))
    companion = part.with_suffix(writer.companion) if writer.companion else None
    try:
        writer.write(part, forecast)
        if companion:
            move_into_place(companion, path.with_suffix(writer.companion))
        move_into_place(part, path)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        raise write_error(error, given_path) from error
    finally:
        files.remove(part)
        if companion:
            files.remove(companion)
    return given_path
